"""Windows and masks depend on seed, step and scan; the scaling on the scans of the index."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from brainmass_core.pretrain.data.prefetch import prefetched
from brainmass_core.pretrain.data.views import ShardError, index_shards
from brainmass_core.pretrain.data.windows import FITTED, fit_scaling
from brainmass_core.pretrain.loop.train import make_stream
from brainmass_core.tables import config_hash_of, from_rows, read_table, write_table
from brainmass_core.timeseries.robust_scaling import fit
from brainmass_core.timeseries.sampling import resampled
from brainmass_core.timeseries.table import bold_by_scan

BATCHES = (("a", 0), ("a", 1), ("a", 2), ("b", 0))
LM = pytest.mark.parametrize("model", ["brainlm-tiny", "brainlm-vit-tiny"])


def with_lm(study, **knobs):
    """The same study with other settings of `pretrain.brainlm`."""
    settings = study.config.pretrain.brainlm.model_dump() | knobs
    return study.changed(brainlm=settings)


def all_series(study) -> dict[str, np.ndarray]:
    found = {}
    for name, batch in BATCHES:
        table = read_table(study.paths.batch("timeseries", name, batch), "timeseries")
        found |= bold_by_scan(table)
    return found


def rewrite(study, name, batch, change) -> None:
    """Change the rows of a time-series table in place."""
    path = study.paths.batch("timeseries", name, batch)
    table = pq.ParquetFile(path).read()
    rows = table.to_pylist()
    for row in rows:
        change(row)
    write_table(path, from_rows(rows, table.schema), "timeseries", config_hash_of(path))


def content(batch) -> tuple:
    return batch.series.tobytes(), batch.mask.visible.numpy().tobytes(), batch.mask.last


def test_a_window_is_a_stretch_of_the_scaled_series_of_its_scan(make_study):
    study = make_study(model="brainlm-tiny")
    index, series = index_shards(study.config), all_series(study)
    ids = sorted(s for g in index.groups for s in g.scan_ids)
    scaling = fit([series[s] for s in ids])
    stream = make_stream(study.config, index, 0, 1)
    starts = set()
    for step in range(6):
        batch = stream.batch(step)
        for window, scan in zip(batch.series, batch.scan_ids, strict=True):
            scaled = scaling.apply(series[scan]).T
            places = [
                k
                for k in range(scaled.shape[1] - 39)
                if np.allclose(scaled[:, k : k + 40], window, atol=1e-5)
            ]
            assert len(places) == 1
            starts |= set(places)
    assert {0, 10} <= starts  # the shortest scan has 50 timepoints


@LM
def test_neither_ranks_nor_workers_nor_the_steps_before_have_a_say(make_study, model):
    study = make_study(model=model)
    index = index_shards(study.config)
    whole = make_stream(study.config, index, 0, 1)
    n = whole.n_steps(8)
    batches = list(prefetched(whole.batch, range(n)))
    again = make_stream(study.config, index, 0, 1)
    ranks = [make_stream(study.config, index, rank, 2) for rank in range(2)]
    for step in reversed(range(n)):
        batch, parts = batches[step], [r.batch(step) for r in ranks]
        assert content(again.batch(step)) == content(batch)
        assert all(p.scan_ids == batch.scan_ids for p in parts)
        np.testing.assert_array_equal(np.concatenate([p.series for p in parts]), batch.series)
        visible = torch.cat([p.mask.visible for p in parts])
        assert torch.equal(visible, batch.mask.visible)
        assert {p.mask.last for p in parts} == {batch.mask.last}
        assert whole.hides_future(step) == (batch.mask.visible == batch.mask.visible[0]).all()
    assert {whole.hides_future(step) for step in range(n)} == {True, False}


def test_every_epoch_draws_windows_and_masks_anew(make_study):
    study = with_lm(make_study(model="brainlm-tiny"), future_share=0.0)
    index = index_shards(study.config)
    stream = make_stream(study.config, index, 0, 1)
    seen: dict[str, list] = {}
    for step in range(stream.n_steps(4)):
        batch = stream.batch(step)
        for scan, visible in zip(batch.scan_ids, batch.mask.visible, strict=True):
            seen.setdefault(scan, []).append(visible.numpy().tobytes())
    assert {len(v) for v in seen.values()} == {4}
    assert all(len(set(v)) == 4 for v in seen.values())


def test_a_scan_has_the_same_window_and_mask_wherever_its_table_stands(make_study):
    study = with_lm(make_study(model="brainlm-tiny"), future_share=0.0)
    index = index_shards(study.config)
    index = replace(index, blocks=())
    backwards = replace(index, groups=index.groups[::-1])
    found = []
    for one in (index, backwards):
        stream = make_stream(study.config, one, 0, 1)
        drawn = {}
        for step in range(2):  # both of the first epoch
            batch = stream.batch(step)
            rows = zip(batch.scan_ids, batch.series, batch.mask.visible, strict=True)
            drawn |= {s: (x.tobytes(), v.numpy().tobytes()) for s, x, v in rows}
        found.append(drawn)
    common = set(found[0]) & set(found[1])
    assert len(common) >= 14
    assert {s: found[0][s] for s in common} == {s: found[1][s] for s in common}
    assert len({v for _, v in found[0].values()}) == 16  # and different from the others


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_configured_share_of_steps_hides_the_future(make_study, share):
    study = with_lm(make_study(model="brainlm-tiny"), future_share=share)
    stream = make_stream(study.config, index_shards(study.config), 0, 1)
    found = np.mean([stream.hides_future(step) for step in range(2000)])
    assert found == pytest.approx(share, abs=0.04)


def test_scaling_is_that_of_the_pretraining_scans_and_no_outlier_elsewhere_moves_it(make_study):
    study = make_study(model="brainlm-tiny")
    before = fit_scaling(index_shards(study.config), 0, None)
    kept = {f"a{k:03}" for k in range(14) if k % 5 == 4}

    def spoil(row):
        if row["scan_id"] in kept:
            row["bold"] = [[1e6 * v for v in line] for line in row["bold"]]

    for batch in range(3):
        rewrite(study, "a", batch, spoil)
    assert fit_scaling(index_shards(study.config), 0, None) == before
    kept.add("b001")  # a scan used for pre-training does
    rewrite(study, "b", 0, spoil)
    assert fit_scaling(index_shards(study.config), 0, None) != before


def test_of_many_scans_a_sample_is_fitted_that_batches_do_not_change(make_study):
    study = make_study(model="brainlm-tiny")
    index = index_shards(study.config)
    some = fit_scaling(index, 0, None, limit=7)
    assert some.n_recordings == 7
    assert fit_scaling(index, 0, None, limit=FITTED).n_recordings == 18
    index = replace(index, blocks=())
    backwards = replace(index, groups=index.groups[::-1])
    assert fit_scaling(backwards, 0, None, limit=7) == some
    assert fit_scaling(index, 1, None, limit=7) != some


def test_a_parcel_that_does_not_vary_is_refused_and_one_not_measured_is_zero(make_study):
    study = make_study(model="brainlm-tiny")

    def empty(row):
        if row["scan_id"] == "b002":
            row["bold"] = [[*line[:4], float("nan"), *line[5:]] for line in row["bold"]]

    rewrite(study, "b", 0, empty)
    index = index_shards(study.config)
    stream = make_stream(study.config, index, 0, 1)
    step = next(s for s in range(6) if "b002" in stream.batch(s).scan_ids)
    batch = stream.batch(step)
    assert np.isfinite(batch.series).all()
    assert (batch.series[batch.scan_ids.index("b002"), 4] == 0).all()

    def flat(row):
        row["bold"] = [[*line[:4], 3.0, *line[5:]] for line in row["bold"]]

    for name, number in BATCHES:
        rewrite(study, name, number, flat)
    with pytest.raises(ShardError, match=r"18 scans: 1 parcels do not vary, such as 4"):
        make_stream(study.config, index_shards(study.config), 0, 1)


def test_scans_shorter_than_the_window_are_counted_and_left_out(make_study, caplog):
    study = with_lm(make_study(model="brainlm-vit-tiny"), window=54)
    with caplog.at_level(logging.WARNING):
        index = index_shards(study.config)
    lengths = [n for g in index.groups for n in g.lengths]
    assert set(lengths) == {54, 55, 56}
    assert f"{18 - len(lengths)} of 18 series are excluded from pre-training" in caplog.text
    assert "b000: found 50 timepoints, expected 54 or more" in caplog.text
    none = with_lm(study, window=57)
    with pytest.raises(ShardError, match=r"none of the 18 .* found 5. timepoints.*window"):
        index_shards(none.config)


def mixed(study):
    """Every other scan of `a` has a different repetition time, one of `b` none."""

    def change(row):
        if row["scan_id"][0] == "a" and int(row["scan_id"][1:]) % 2:
            row["t_r"] = 1.5
        if row["scan_id"] == "b001":
            row["t_r"] = None

    for name, batch in BATCHES:
        rewrite(study, name, batch, change)
    return study


def test_scans_that_differ_in_repetition_time_are_refused_unless_it_is_said_what_to_do(make_study):
    study = make_study(model="brainlm-tiny")
    assert index_shards(study.config).t_r == 2.0
    mixed(study)
    with pytest.raises(ShardError, match=r"2\.0: \d+ scans, 1\.5: \d+ scans.*other_t_r"):
        index_shards(study.config)


def test_scans_of_another_repetition_time_are_left_out(make_study, caplog):
    study = mixed(with_lm(make_study(model="brainlm-tiny"), t_r=2.0))
    with caplog.at_level(logging.WARNING):
        index = index_shards(study.config)
    ids = {s for g in index.groups for s in g.scan_ids}
    assert {int(s[1:]) % 2 for s in ids if s[0] == "a"} == {0}
    assert "b001" not in ids
    assert index.t_r == 2.0
    assert "b001: its repetition time is unknown, expected 2 s" in caplog.text
    assert "a001: found a repetition time of 1.5 s, expected 2 s" in caplog.text


def test_scans_of_another_repetition_time_are_resampled_before_scaling(make_study):
    study = mixed(with_lm(make_study(model="brainlm-tiny"), t_r=1.5, other_t_r="resample"))
    index, series = index_shards(study.config), all_series(study)
    t_rs = {s: t for g in index.groups for s, t in zip(g.scan_ids, g.t_rs, strict=True)}
    assert len(t_rs) == 17
    at_1_5 = {s: resampled(series[s], t, 1.5) for s, t in t_rs.items()}
    scaling = fit(at_1_5.values())
    assert fit_scaling(index, 0, 1.5) == scaling
    batch = make_stream(study.config, index, 0, 1).batch(0)
    for window, scan in zip(batch.series, batch.scan_ids, strict=True):
        scaled = scaling.apply(at_1_5[scan]).T
        assert any(
            np.allclose(scaled[:, k : k + 40], window, atol=1e-5)
            for k in range(scaled.shape[1] - 39)
        )


@pytest.mark.parametrize(("ratio", "what"), [(0.99, "hides all"), (0.01, "hides none")])
def test_a_mask_of_nothing_or_everything_is_refused(make_study, ratio, what):
    study = with_lm(make_study(model="brainlm-tiny"), mask_ratio=ratio)
    with pytest.raises(ShardError, match=rf"mask_ratio.*{what}"):
        make_stream(study.config, index_shards(study.config), 0, 1)
