"""Views from time series follow the rules of stored ones, and are new in each epoch."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from brainmass_core.config import Config
from brainmass_core.connectivity import ledoit_wolf, vectorise
from brainmass_core.finetune.cohort.leaks import scans_shown
from brainmass_core.pfc import Dropping
from brainmass_core.pipeline.dag import Study as Dag
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pretrain.data.views import (
    FreshBatch,
    ShardError,
    Stream,
    fresh_of,
    index_shards,
)
from brainmass_core.pretrain.loop.checkpoint import Checkpoints
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.train import Interrupted, make_stream, train
from brainmass_core.tables import (
    SCANS,
    config_hash_of,
    from_rows,
    read_table,
    timeseries_schema,
    write_table,
)
from brainmass_core.timeseries.table import bold_by_scan

ALONE = Ranks(0, 1, 1, torch.device("cpu"))
CPU = torch.device("cpu")


@pytest.fixture
def study(make_study):
    """A study that trains on its series and has no pFC."""
    made = make_study(source="timeseries")
    shutil.rmtree(made.config.results / "pfc")
    return made


def with_pfc(config: Config, **knobs) -> Config:
    return config.model_copy(update={"pfc": config.pfc.model_copy(update=knobs)})


def all_series(study) -> dict[str, np.ndarray]:
    found = {}
    for name, batch in (("a", 0), ("a", 1), ("a", 2), ("b", 0)):
        table = read_table(study.paths.batch("timeseries", name, batch), "timeseries")
        found |= bold_by_scan(table)
    return found


def test_series_of_participants_kept_for_evaluation_never_enter(study):
    index = index_shards(study.config)
    ids = {s for g in index.groups for s in g.scan_ids}
    assert ids == {f"a{k:03}" for k in range(14) if k % 5 != 4} | {f"b{k:03}" for k in range(6)}
    assert [(s.dataset, s.n_scans) for s in index.sources] == [("a", 12), ("b", 6)]
    read = {len(s) for k, s in all_series(study).items() if k in ids}
    assert {n for g in index.groups for n in g.lengths} == read


@pytest.mark.parametrize("through", ["another scan of the participant", "unknown"])
def test_a_series_of_a_participant_kept_for_evaluation_is_refused(study, through):
    path = study.paths.scans("a")
    rows = read_table(path, "scans").to_pylist()
    row = next(r for r in rows if r["scan_id"] == "a003")
    if through == "unknown":
        rows.remove(row)
    else:
        rows.append({**row, "scan_id": "a003_run-2", "split": "test"})
    write_table(path, from_rows(rows, SCANS), "scans")
    with pytest.raises(ShardError, match=r"time series of a: 1 scans are not free.*a003.*timeser"):
        index_shards(study.config)


def test_series_of_another_configuration_are_refused_and_missing_ones_named(study):
    path = study.paths.batch("timeseries", "a", 1)
    table = pq.ParquetFile(path).read()
    write_table(path, table, "timeseries", "0123456789ab")
    with pytest.raises(ShardError, match=r"1\.parquet: found brainmass_config_hash '0123456789ab'"):
        index_shards(study.config)
    path.unlink()
    with pytest.raises(ShardError, match=r"no such time-series table; run: .* timeseries"):
        index_shards(study.config)


def test_a_series_of_which_too_little_stays_is_left_out_and_named(study, caplog):
    path = study.paths.batch("timeseries", "b", 0)
    table = pq.ParquetFile(path).read()
    rows = table.to_pylist()
    rows[2] |= {"bold": rows[2]["bold"][:3], "n_timepoints": 3}
    rows[3] |= {"status": "excluded", "bold": None, "n_timepoints": None}
    write_table(path, from_rows(rows, timeseries_schema(20)), "timeseries", config_hash_of(path))
    config = with_pfc(study.config, drop_rate=0.5)
    with caplog.at_level(logging.WARNING):
        index = index_shards(config)
    assert index.n_scans == 16
    assert f"left out of pre-training: {rows[2]['scan_id']}: found 3 timepoints" in caplog.text
    stream = make_stream(config, index, 0, 1)
    seen = [s for step in range(4) for s in stream.batch(step).scan_ids]
    assert not {rows[2]["scan_id"], rows[3]["scan_id"]} & set(seen)


def test_views_are_the_correlations_of_the_scans_own_series(study):
    index, series = index_shards(study.config), all_series(study)
    batch = make_stream(study.config, index, 0, 1).batch(2)
    assert isinstance(batch, FreshBatch)
    view_1, view_2, for_class, for_values = batch.tensors(CPU)
    assert for_class.shape == (8, 5)
    assert for_values.shape == (8, 3)
    kept = {int(p): k for _, masks, places in batch.chunks for p, k in zip(places, masks, strict=1)}
    for place, scan in enumerate(batch.scan_ids):
        bold, masks = series[scan], kept[place][:, : len(series[scan])]
        assert (masks.sum(1) == Dropping(0.2).n_kept(len(bold))).all()
        assert (masks[0] != masks[1]).any()
        for view, mask in zip((view_1, view_2), masks, strict=True):
            expected = np.corrcoef(bold[mask].T)[np.triu_indices(20, 1)]
            np.testing.assert_allclose(view[place].numpy(), expected, atol=1e-5)


def test_every_epoch_draws_anew_and_the_same_step_the_same(study):
    index = index_shards(study.config)
    stream = make_stream(study.config, index, 0, 1)
    seen: dict[str, list] = {}
    for step in range(stream.n_steps(4)):
        batch = stream.batch(step)
        for scan, pair in zip(batch.scan_ids, torch.stack(batch.tensors(CPU)[:2], 1), strict=True):
            seen.setdefault(scan, []).extend(v.numpy().tobytes() for v in pair)
    assert {len(v) for v in seen.values()} == {8}  # 4 epochs, 18 scans and 8 a step: 9 full steps
    assert all(len(set(v)) == len(v) for v in seen.values())
    again = make_stream(study.config, index, 0, 1).batch(5).tensors(CPU)
    for one, two in zip(again, stream.batch(5).tensors(CPU), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("n_ranks", [2, 4])
def test_slices_of_the_ranks_make_up_the_batch_of_one_process(study, n_ranks):
    index, fresh = index_shards(study.config), fresh_of(study.config)
    whole = Stream(index, 3, 8, (5, 3), fresh=fresh).batch(3).tensors(CPU)
    parts = [
        Stream(index, 3, 8, (5, 3), rank, n_ranks, fresh).batch(3).tensors(CPU)
        for rank in range(n_ranks)
    ]
    for name, (one, *others) in enumerate(zip(whole, *parts, strict=True)):
        torch.testing.assert_close(torch.cat(others), one, rtol=0, atol=1e-6 if name < 2 else 0)


def test_held_series_are_bounded(make_study, monkeypatch):
    study = make_study(n_a=120, n_b=20, source="timeseries")
    from brainmass_core.pretrain.data import order

    monkeypatch.setattr(order, "BUFFER_SCANS", 16)
    index = index_shards(study.config)
    stream = Stream(index, 0, 4, (5, 3), fresh=fresh_of(study.config))
    for step in range(stream.n_steps(1)):
        stream.batch(step)
        assert len(stream._held) < len(index.groups)
    held = Stream(index, 0, 4, (5, 3), fresh=fresh_of(study.config), memory=10**9)
    for step in range(held.n_steps(1)):
        held.batch(step)
    assert len(held._held) == len(index.groups)


def test_an_interrupted_run_on_series_goes_on_to_the_bit(study):
    index = index_shards(study.config)
    whole, broken = (Checkpoints(study.config, name) for name in ("whole", "broken"))
    train(study.config, index, whole, ALONE, lambda: False)
    calls = iter(range(3))
    with pytest.raises(Interrupted):
        train(study.config, index, broken, ALONE, lambda: next(calls, None) is None)
    train(study.config, index, broken, ALONE, lambda: False)
    assert broken.latest().history.numpy().tobytes() == whole.latest().history.numpy().tobytes()


def test_the_leak_check_knows_what_either_source_gave(make_study):
    study = make_study()
    free = {f"a{k:03}" for k in range(14) if k % 5 != 4}
    task = {"datasets": ["a", "c"], "label": "dx", "classes": {"x": ["0"], "y": ["1"]}}
    for source in ("pfc", "timeseries"):
        config = study.changed(source=source).config
        config = type(config).model_validate({**config.model_dump(), "tasks": {"t": task}})
        shown = scans_shown(config)
        assert {s for s in shown["scan_id"] if s[0] in "ac"} == free


def test_with_series_the_dag_asks_for_no_pfc(study):
    dag = Dag(study.config)
    files = [*dag.pretrain_tables(), *dag.report_inputs("index")]
    assert not [f for f in files if "/pfc/" in f]
    series = {str(study.paths.batch("timeseries", n, b)) for n, b in (("a", 0), ("a", 2), ("b", 0))}
    assert series <= set(dag.pretrain_tables())
    assert not [f for f in dag.pretrain_tables() if "/timeseries/c/" in f]
    stored = Dag(study.changed(source="pfc").config)
    assert not [f for f in stored.pretrain_tables() if "/timeseries/" in f]
    assert len([f for f in stored.pretrain_tables() if "/pfc/" in f]) == 4


def test_the_hash_follows_what_the_views_are_made_from(study):
    def hashed(**knobs):
        return stage_hash(with_pfc(study.config, **knobs), "pretrain")

    now = stage_hash(study.config, "pretrain")
    assert hashed(n_views=7) == now
    assert len({now, hashed(drop_rate=0.3), hashed(drop_count=5), hashed(window=30)}) == 4
    assert hashed(estimator="ledoit_wolf") != now
    assert stage_hash(study.changed(source="pfc").config, "pretrain") != now
    assert stage_hash(study.config.model_copy(update={"seed": 5}), "pretrain") != now


def test_both_estimators_and_windows_reach_the_views(study):
    index = index_shards(study.config)
    config = with_pfc(study.config, window=30, estimator="ledoit_wolf")
    batch, series = make_stream(config, index, 0, 1).batch(0), all_series(study)
    views = torch.stack(batch.tensors(CPU)[:2], 1)
    place = 0
    kept = next(m[list(p).index(place)] for _, m, p in batch.chunks if place in p)
    bold = series[batch.scan_ids[place]]
    rows = [np.flatnonzero(mask) for mask in kept]
    assert all((np.diff(r) == 1).all() and len(r) == 30 for r in rows)
    for view, r in zip(views[place], rows, strict=True):
        np.testing.assert_allclose(view.numpy(), vectorise(ledoit_wolf(bold[r])), atol=1e-5)
