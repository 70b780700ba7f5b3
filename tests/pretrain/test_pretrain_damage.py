"""A damaged table is named and stops the run before training; a worker's exception is reported."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from brainmass_core import pfc, timeseries
from brainmass_core.pipeline.manifest import read_manifest
from brainmass_core.pretrain.data.prefetch import AHEAD, prefetched
from brainmass_core.pretrain.data.views import ShardError, Stream, index_shards
from brainmass_core.pretrain.launch import torchrun as launch
from brainmass_core.pretrain.launch.torchrun import run
from brainmass_core.pretrain.loop.checkpoint import Checkpoints
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.train import Interrupted, train
from brainmass_core.tables import (
    SCANS,
    TableError,
    config_hash_of,
    from_rows,
    read_table,
    write_table,
)
from brainmass_core.timeseries.table import bold_by_scan

LIMIT = 300  # seconds; only a limit against hangs
ALONE = Ranks(0, 1, 1, torch.device("cpu"))
BOLD = "bold.list.element.list.element"
READ = pytest.mark.parametrize(  # input of a model, and its large column
    ("model", "source", "column"),
    [
        ("brainmass", "pfc", "fc"),
        ("brainmass", "timeseries", BOLD),
        ("brainlm-tiny", "timeseries", BOLD),
    ],
)


def flip(path, column: str) -> None:
    """Invert 16 bytes in the middle of a column's pages, as a faulty disk does."""
    chunk = pq.read_metadata(path).row_group(0)
    place = next(i for i in range(chunk.num_columns) if chunk.column(i).path_in_schema == column)
    meta = chunk.column(place)
    start = meta.dictionary_page_offset or meta.data_page_offset
    middle = start + meta.total_compressed_size // 2
    data = bytearray(path.read_bytes())
    data[middle : middle + 16] = bytes(255 - b for b in data[middle : middle + 16])
    path.write_bytes(data)


@READ
def test_a_flipped_byte_of_a_table_stops_the_launcher_and_is_named(
    make_study, monkeypatch, model, source, column
):
    study = make_study(model=model, source=source)
    path = study.paths.batch(source, "a", 1)
    flip(path, column)
    monkeypatch.setattr(launch, "_launch", lambda _: pytest.fail("training was started"))
    with pytest.raises(ShardError, match=rf"{source}/a/1\.parquet: damaged .*{source}"):
        run(study.config, study.path)
    with pytest.raises(TableError, match=r"1\.parquet: damaged"):
        read_table(path, source)


@READ
def test_a_flipped_byte_stops_a_run_that_would_resume(
    make_study, monkeypatch, model, source, column
):
    study = make_study(model=model, source=source)
    index = index_shards(study.config)
    checkpoints = Checkpoints(study.config, index.fingerprint)
    calls = iter(range(2))
    with pytest.raises(Interrupted):
        train(study.config, index, checkpoints, ALONE, lambda: next(calls, None) is None)
    step = checkpoints.latest().step
    flip(study.paths.batch(source, "b", 0), column)
    monkeypatch.setattr(launch, "_launch", lambda _: pytest.fail("training was started"))
    with pytest.raises(ShardError, match=rf"{source}/b/0\.parquet: damaged"):
        run(study.config, study.path)
    assert checkpoints.latest().step == step


@READ
def test_a_table_that_is_lost_while_training_is_named_in_the_loop(
    make_study, model, source, column
):
    study = make_study(model=model, source=source)
    index = index_shards(study.config)
    begun, new = (Checkpoints(study.config, name) for name in ("begun", "new"))
    calls = iter(range(2))
    with pytest.raises(Interrupted):
        train(study.config, index, begun, ALONE, lambda: next(calls, None) is None)
    path = study.paths.batch(source, "a", 1)
    path.write_bytes(path.read_bytes()[:200])
    for checkpoints in (begun, new):
        with pytest.raises(ShardError, match=rf"{source}/a/1\.parquet: row group 0"):
            train(study.config, index, checkpoints, ALONE, lambda: False)
    assert begun.latest().step == 3
    assert new.latest() is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("model", ["brainmass", "brainlm-tiny"])
def test_a_single_missing_or_infinite_value_in_a_table_is_refused_with_its_scan(
    make_study, model, value
):
    study = make_study(model=model, source="timeseries")
    path = study.paths.batch("timeseries", "b", 0)
    table = pq.ParquetFile(path).read()
    rows = table.to_pylist()
    rows[2]["bold"][9][4] = value
    write_table(path, from_rows(rows, table.schema), "timeseries", config_hash_of(path))
    index = index_shards(study.config)
    with pytest.raises(ShardError, match=r"b/0\.parquet: b002: 1 parcels, such as 4 .*of 1 values"):
        train(study.config, index, Checkpoints(study.config, "x"), ALONE, lambda: False)


# what can be wrong with a file: its content, and the t_r (s) of the scan
HARMED: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "truncated": (lambda x: x, 2.0),  # after it was written
    "missing-value": (lambda x: with_parcel(x, np.r_[np.nan, x[1:, 3]]), 2.0),
    "infinite-value": (lambda x: with_parcel(x, np.r_[np.inf, x[1:, 3]]), 2.0),
    "missing-parcel": (lambda x: with_parcel(x, np.nan), 2.0),
    "constant-parcel": (lambda x: with_parcel(x, 17.3), 2.0),
    "constant": (lambda x: np.full_like(x, 17.3), 2.0),
    "of-another-atlas": (lambda x: x[:, :19], 2.0),
    "short": (lambda x: x[:30], 2.0),
}
NOT_FOR_WINDOWS = {  # valid, but too short for a window of the model
    "shorter-than-window": (lambda x: x[:45], 2.0),
    "of-another-t_r": (lambda x: x, 3.0),
}


def with_parcel(x: np.ndarray, values: object) -> np.ndarray:
    x = x.copy()
    x[:, 3] = values
    return x


def files_of(study, folder: Path, harmed: dict) -> set[str]:
    """Data set `b`, computed again by its stages from files: six valid ones, and those that were
    damaged.
    """
    table = read_table(study.paths.batch("timeseries", "b", 0), "timeseries")
    sound = bold_by_scan(table)
    content = {s: (x, 2.0) for s, x in sound.items() if s in {f"b{k:03}" for k in range(6)}}
    content |= {name: (harm(sound["b001"]), t_r) for name, (harm, t_r) in harmed.items()}
    rows = []
    for scan, (x, t_r) in sorted(content.items()):
        np.save(folder / f"{scan}.npy", x)
        row = {"scan_id": scan, "participant_id": scan, "split": "pretrain", "t_r": t_r}
        row |= {"dataset": "b", "kind": "timeseries", "batch": 0}
        rows.append(row | {"bold_path": str(folder / f"{scan}.npy")})
    if "truncated" in harmed:
        cut = folder / "truncated.npy"
        cut.write_bytes(cut.read_bytes()[:900])
    write_table(study.paths.scans("b"), from_rows(rows, SCANS), "scans")
    for stage in (timeseries, pfc)[: 1 if study.config.pretrain.source == "timeseries" else 2]:
        stage.run(study.config, "b", 0)
    entries = read_manifest(study.paths.manifest("timeseries", "b", 0))
    return {e.scan_id for e in entries if e.status != "ok" and e.reason}


@pytest.mark.study
@pytest.mark.parametrize("model", ["brainmass", "brainlm-vit-tiny"])
def test_damaged_recordings_are_named_and_leave_no_trace_in_the_model(
    make_study, tmp_path, model, caplog
):
    of_series = model != "brainmass"
    study = make_study(model=model, n_b=6)
    if of_series:
        study = study.changed(brainlm={"window": 50, "mask_ratio": 0.5, "t_r": 2.0})
    weights = []
    for name in ("sound", "harmed"):
        damaged = HARMED if name == "harmed" else {}
        unfit = NOT_FOR_WINDOWS if name == "harmed" and of_series else {}
        assert files_of(study, tmp_path, damaged | unfit) == set(damaged)
        with caplog.at_level(logging.WARNING):
            index = index_shards(study.config)
        assert all(f"{scan}: " in caplog.text for scan in unfit)
        assert {s for g in index.groups for s in g.scan_ids if s[0] == "b"} >= {"b000", "b005"}
        assert not set(damaged | unfit) & {s for g in index.groups for s in g.scan_ids}
        checkpoints = Checkpoints(study.config, name)
        train(study.config, index, checkpoints, ALONE, lambda: False)
        weights.append(checkpoints.latest().model)
    assert all(torch.equal(weights[1][n], t) for n, t in weights[0].items())


def test_batches_made_ahead_are_those_made_when_asked_for(make_study):
    index = index_shards(make_study().config)
    plain, ahead = (Stream(index, 0, 4, (5, 3)) for _ in range(2))
    for step, batch in enumerate(prefetched(ahead.batch, range(9))):
        assert batch.scan_ids == plain.batch(step).scan_ids
        assert batch.view_1.tobytes() == plain.batch(step).view_1.tobytes()


def test_making_never_runs_far_ahead_and_what_it_raises_comes_at_its_step():
    made, threads, ahead = queue.Queue(), set(), []
    handed = 0

    def make(step: int) -> int:
        threads.add(threading.current_thread())
        ahead.append(step - handed)
        made.put(step)
        if step == 4:
            raise ShardError("x.parquet: gone")
        return step

    batches = prefetched(make, range(10))
    for step in range(4):
        handed = step  # while this one is requested
        assert next(batches) == step
        for expected in range(AHEAD + 1) if step == 0 else [step + AHEAD]:
            assert made.get(timeout=LIMIT) == expected
        assert made.empty()
    handed = 4
    with pytest.raises(ShardError, match=r"x\.parquet: gone"):
        next(batches)
    assert max(ahead) <= AHEAD
    assert threading.current_thread() not in threads
    assert not [t for t in threads if t.is_alive()]
    assert len(threads) == 1


def test_a_batch_is_made_while_the_step_runs():
    started = threading.Event()

    def make(step: int) -> int:
        if step == 1:
            started.set()
        return step

    batches = prefetched(make, range(3))
    next(batches)
    assert started.wait(LIMIT)  # it has not been requested yet
    batches.close()
