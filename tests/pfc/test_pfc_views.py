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
from brainmass_core.connectivity import ESTIMATORS, unvectorise
from brainmass_core.pipeline.manifest import read_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import SCANS, from_rows, timeseries_schema, write_table


def structured_series(n_timepoints: int, n_rois: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_timepoints, 4)) @ rng.standard_normal((4, n_rois))
    return shared + rng.standard_normal((n_timepoints, n_rois))


@pytest.mark.parametrize(
    ("n_timepoints", "kept"), [(99, 80), (149, 120), (176, 141), (200, 160), (490, 392)]
)
def test_a_view_keeps_what_the_authors_code_keeps(n_timepoints, kept):
    assert pfc.Dropping(0.2).n_kept(n_timepoints) == kept


def test_binary_fractions_do_not_shift_the_number_of_kept_timepoints():
    assert pfc.Dropping(0.29).n_kept(100) == 71


DROPPINGS = st.one_of(
    st.builds(pfc.Dropping, rate=st.floats(0.01, 0.9)),
    st.builds(pfc.Dropping, count=st.integers(1, 2)),
    st.builds(pfc.Dropping, window=st.integers(1, 300)),
)


@settings(max_examples=100, deadline=None)
@given(st.integers(3, 300), DROPPINGS, st.integers(0, 2**32))
def test_what_goes_and_what_stays_make_up_the_whole(n_timepoints, dropping, seed):
    dropped = dropping.dropped(n_timepoints, 4, seed)
    kept = pfc.kept_timepoints(dropped, n_timepoints)
    assert kept.shape == (4, dropping.n_kept(n_timepoints))
    assert (np.diff(kept, axis=1) > 0).all()
    both = np.sort(np.concatenate([kept, dropped], axis=1), axis=1)
    assert (both == np.arange(n_timepoints)).all()
    if dropping.window is not None:
        assert (np.diff(kept, axis=1) == 1).all()


def test_every_timepoint_is_dropped_equally_often_and_every_window_drawn():
    counts = np.bincount(pfc.Dropping(0.2).dropped(50, 2000, 0).ravel(), minlength=50)
    # binomial: mean 400, standard deviation 17.9; 5 of them either way
    assert counts.min() > 310
    assert counts.max() < 490
    windows = pfc.kept_timepoints(pfc.Dropping(window=46).dropped(50, 2000, 1), 50)
    starts = np.bincount(windows[:, 0])
    assert len(starts) == 5
    assert starts.min() > 310  # of 400, as above
    assert starts.max() < 490


def kept_of(n_timepoints: int, n_views: int, rate: float, seed: int) -> np.ndarray:
    """The timepoints of the views that `pseudo_fc` makes of this seed."""
    dropped = pfc.Dropping(rate).dropped(n_timepoints, n_views, seed)
    return pfc.kept_timepoints(dropped, n_timepoints)


def test_a_window_is_the_fc_of_a_piece_of_the_series():
    series = structured_series(90, 10)
    views = pfc.pseudo_fc(series, 5, pfc.Dropping(window=60), seed=3)
    pieces = np.array(
        [np.corrcoef(series[i : i + 60].T)[np.triu_indices(10, 1)] for i in range(31)]
    )
    distance = np.abs(views[:, None] - pieces[None]).max(axis=2)
    assert (distance.min(axis=1) < 2e-6).all()
    assert len(set(distance.argmin(axis=1))) > 1


@pytest.mark.parametrize(
    ("dropping", "message"),
    [
        (pfc.Dropping(count=8), r"found 10 timepoints, of which 2 remain with pfc\.drop_count 8"),
        (pfc.Dropping(count=30), r"of which 0 remain with pfc\.drop_count 30"),
        (pfc.Dropping(window=10), r"found 10 timepoints, expected more than pfc\.window 10"),
    ],
)
def test_dropping_that_does_not_fit_the_series_is_refused(dropping, message):
    with pytest.raises(ValueError, match=message):
        pfc.pseudo_fc(structured_series(10, 5), 2, dropping)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.41, 0.7])
@pytest.mark.parametrize("n_rois", [2, 3, 30, 101])
def test_views_equal_numpy_correlation_of_the_kept_timepoints(rate, n_rois):
    series = 700 + structured_series(121, n_rois)
    views = pfc.pseudo_fc(series, 3, rate, seed=1)
    assert views.shape == (3, n_rois * (n_rois - 1) // 2)
    assert views.dtype == np.float32
    for view, kept in zip(views, kept_of(121, 3, rate, 1), strict=True):
        expected = np.corrcoef(series[kept].T)[np.triu_indices(n_rois, 1)]
        np.testing.assert_allclose(view, expected, atol=2e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("rate", [0.2, 0.7])
@pytest.mark.parametrize("n_rois", [30, 150])  # fewer and more ROIs than timepoints
def test_ledoit_wolf_views_equal_nilearn(rate, n_rois):
    series = structured_series(120, n_rois)
    views = pfc.pseudo_fc(series, 2, rate, seed=1, estimator="ledoit_wolf")
    measure = ConnectivityMeasure(
        kind="correlation", cov_estimator=LedoitWolf(store_precision=False), standardize=True
    )
    expected = measure.fit_transform([series[k] for k in kept_of(120, 2, rate, 1)])
    for view, matrix in zip(views, expected, strict=True):
        np.testing.assert_allclose(unvectorise(view), matrix, atol=3e-6)


@pytest.mark.parametrize("estimator", ["pearson", "ledoit_wolf"])
def test_a_constant_or_empty_roi_has_edges_of_zero(estimator):
    series = structured_series(80, 12)
    series[:, 3] = 7.3
    series[5, 8] = np.nan
    views = unvectorise(pfc.pseudo_fc(series, 2, seed=0, estimator=estimator))
    others = np.setdiff1d(np.arange(12), [3, 8])
    for roi in (3, 8):
        assert (views[:, roi, others] == 0).all()
    series[:, 8] = 0.0
    kept = kept_of(80, 2, 0.2, 0)
    np.testing.assert_allclose(views, ESTIMATORS[estimator](series[kept]), atol=2e-6)


@pytest.mark.parametrize("estimator", ["pearson", "ledoit_wolf"])
@pytest.mark.parametrize("spike", [30.0, 1e3, 1e6])
def test_a_spike_costs_no_digits_where_it_is_dropped(estimator, spike):
    series = structured_series(100, 12)
    series[40, 5] += spike
    views = unvectorise(pfc.pseudo_fc(series, 40, seed=2, estimator=estimator))
    kept = kept_of(100, 40, 0.2, 2)
    assert 2 < sum(40 not in k for k in kept) < 20  # both kinds of view are there
    np.testing.assert_allclose(views, ESTIMATORS[estimator](series[kept]), atol=5e-6)


def test_a_view_depends_on_seed_scan_and_view_alone():
    series = structured_series(60, 8)
    first = pfc.pseudo_fc(series, 2, seed=pfc.scan_seed(1, "a"))
    more = pfc.pseudo_fc(series, 4, seed=pfc.scan_seed(1, "a"))
    np.testing.assert_array_equal(first, more[:2])
    for other in (pfc.scan_seed(2, "a"), pfc.scan_seed(1, "b")):
        assert (first != pfc.pseudo_fc(series, 2, seed=other)).any()
    assert (first[0] != first[1]).any()


def test_too_short_a_series_is_refused():
    with pytest.raises(ValueError, match=r"found 3 timepoints, of which 2 remain.*0\.5"):
        pfc.pseudo_fc(structured_series(3, 5), 2, drop_rate=0.5)


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
    expected = pfc.pseudo_fc(series, 3, seed=pfc.scan_seed(config.seed, "s2"))
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
