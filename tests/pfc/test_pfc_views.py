"""Pseudo-FC: which timepoints drop, what the estimators give, what the stage writes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import LedoitWolf

from brainmass_core import pfc
from brainmass_core.config import parse_config
from brainmass_core.connectivity import unvectorise
from brainmass_core.manifest import read_manifest
from brainmass_core.paths import Paths
from brainmass_core.tables import SCANS, from_rows, timeseries_schema, write_table


def structured_series(n_timepoints: int, n_rois: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_timepoints, 4)) @ rng.standard_normal((4, n_rois))
    return shared + rng.standard_normal((n_timepoints, n_rois))


@pytest.mark.parametrize(
    ("n_timepoints", "kept"), [(99, 80), (149, 120), (176, 141), (200, 160), (490, 392)]
)
def test_a_view_keeps_what_the_authors_code_keeps(n_timepoints, kept):
    assert pfc.n_kept(n_timepoints, 0.2) == kept


def test_binary_fractions_do_not_shift_the_number_of_kept_timepoints():
    assert pfc.n_kept(100, 0.29) == 71


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 300), st.floats(0.01, 0.9), st.integers(0, 2**32))
def test_kept_timepoints_are_distinct_and_in_order(n_timepoints, rate, seed):
    kept = pfc.draw_kept(n_timepoints, rate, np.random.default_rng(seed))
    assert len(kept) == pfc.n_kept(n_timepoints, rate)
    assert (np.diff(kept) > 0).all()
    assert kept.min() >= 0
    assert kept.max() < n_timepoints


def test_every_timepoint_is_kept_equally_often():
    rng = np.random.default_rng(0)
    counts = sum(np.bincount(pfc.draw_kept(50, 0.2, rng), minlength=50) for _ in range(2000))
    # binomial: mean 1600, standard deviation 17.9; 5 of them either way
    assert counts.min() > 1510
    assert counts.max() < 1690


def test_views_equal_numpy_correlation_of_the_kept_timepoints():
    series = structured_series(120, 30)
    views = pfc.pseudo_fc(series, pfc.view_generators(1, "scan", 3))
    assert views.shape == (3, 435)
    assert views.dtype == np.float32
    for view, rng in zip(views, pfc.view_generators(1, "scan", 3), strict=True):
        kept = pfc.draw_kept(120, 0.2, rng)
        expected = np.corrcoef(series[kept].T)[np.triu_indices(30, 1)]
        np.testing.assert_allclose(view, expected, atol=1e-7)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_ledoit_wolf_views_equal_nilearn():
    series = structured_series(120, 30)
    views = pfc.pseudo_fc(series, pfc.view_generators(1, "scan", 2), estimator="ledoit_wolf")
    measure = ConnectivityMeasure(
        kind="correlation", cov_estimator=LedoitWolf(store_precision=False), standardize=True
    )
    kept = [pfc.draw_kept(120, 0.2, rng) for rng in pfc.view_generators(1, "scan", 2)]
    expected = measure.fit_transform([series[k] for k in kept])
    for view, matrix in zip(views, expected, strict=True):
        np.testing.assert_allclose(unvectorise(view), matrix, atol=1e-6)


def test_a_constant_or_empty_roi_has_edges_of_zero_and_changes_no_others():
    series = structured_series(80, 12)
    clean = unvectorise(pfc.pseudo_fc(series, pfc.view_generators(0, "s", 2)))
    series[:, 3] = 7.3
    series[5, 8] = np.nan
    views = unvectorise(pfc.pseudo_fc(series, pfc.view_generators(0, "s", 2)))
    others = np.setdiff1d(np.arange(12), [3, 8])
    for roi in (3, 8):
        assert (views[:, roi, others] == 0).all()
    np.testing.assert_array_equal(views[:, others][:, :, others], clean[:, others][:, :, others])


def test_a_view_depends_on_seed_scan_and_view_alone():
    series = structured_series(60, 8)
    first = pfc.pseudo_fc(series, pfc.view_generators(1, "a", 2))
    np.testing.assert_array_equal(first, pfc.pseudo_fc(series, pfc.view_generators(1, "a", 4))[:2])
    for other in (pfc.view_generators(2, "a", 2), pfc.view_generators(1, "b", 2)):
        assert (first != pfc.pseudo_fc(series, other)).any()
    assert (first[0] != first[1]).any()


def test_too_short_a_series_is_refused():
    with pytest.raises(ValueError, match=r"found 3 timepoints, of which 2 stay.*0\.5"):
        pfc.pseudo_fc(structured_series(3, 5), pfc.view_generators(0, "s", 2), drop_rate=0.5)


@pytest.fixture
def config(tmp_path):
    """A study of one data set with six scans: two to evaluate, one failed, one too short."""
    raw = {
        "results": str(tmp_path / "results"),
        "datasets": {"toy": {"kind": "timeseries", "role": "internal", "path": str(tmp_path)}},
        "atlas": {"name": "toy", "n_rois": 10},
        "pfc": {"n_views": 3},
    }
    config = parse_config(raw)
    paths = Paths(config.results)
    splits = {
        "s0": "train",
        "s1": "test",
        "s2": "train",
        "s3": "test",
        "s4": "train",
        "s5": "train",
    }
    scans = [{"scan_id": s, "participant_id": s, "split": v} for s, v in splits.items()]
    write_table(paths.scans("toy"), from_rows(scans, SCANS), "scans")
    rows = []
    for i, scan in enumerate(splits):
        length = 2 if scan == "s5" else 40 + i
        row = {"scan_id": scan, "status": "ok", "coverage": [1.0] * 10}
        row["bold"] = structured_series(length, 10, seed=i).astype(np.float32).tolist()
        rows.append(row if scan != "s4" else {"scan_id": scan, "status": "failed"})
    table = from_rows(rows, timeseries_schema(10))
    table = pa.concat_tables([table.slice(0, 3), table.slice(3)])  # more than one chunk
    write_table(paths.batch("timeseries", "toy", 0), table, "timeseries")
    return config


def test_stage_writes_all_views_of_usable_training_scans_and_accounts_for_the_rest(config):
    pfc.run(config, "toy", 0)
    paths = Paths(config.results)
    file = pq.ParquetFile(paths.batch("pfc", "toy", 0))
    table = file.read()
    assert table["scan_id"].to_pylist() == ["s0"] * 3 + ["s2"] * 3
    assert table["view"].to_pylist() == [0, 1, 2] * 2
    assert table["n_kept"].to_pylist() == [32] * 3 + [34] * 3
    assert table.schema.metadata[b"n_rois"] == b"10"
    assert file.metadata.row_group(0).column(4).compression == "UNCOMPRESSED"
    fate = {e.scan_id: e.status for e in read_manifest(paths.manifest("pfc", "toy", 0))}
    assert fate == {"s0": "ok", "s2": "ok", "s5": "failed"}

    stored = np.frombuffer(b"".join(table["fc"].to_pylist()), "<f2").reshape(6, 45)
    series = structured_series(42, 10, seed=2).astype(np.float32)
    expected = pfc.pseudo_fc(series, pfc.view_generators(config.seed, "s2", 3))
    np.testing.assert_array_equal(stored[3:], expected.astype(np.float16))


def test_stage_gives_the_same_bytes_again_and_an_empty_batch_is_valid(config):
    path = Paths(config.results).batch("pfc", "toy", 0)
    pfc.run(config, "toy", 0)
    first = path.read_bytes()
    path.unlink()
    pfc.run(config, "toy", 0)
    assert path.read_bytes() == first

    empty = timeseries_schema(10).empty_table()
    write_table(Paths(config.results).batch("timeseries", "toy", 1), empty, "timeseries")
    pfc.run(config, "toy", 1)
    assert pq.ParquetFile(Paths(config.results).batch("pfc", "toy", 1)).read().num_rows == 0
