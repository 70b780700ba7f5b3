"""A damaged table is named and stops the run before training; a worker's exception is not lost."""

from __future__ import annotations

import threading
import time

import pyarrow.parquet as pq
import pytest
import torch

from brainmass_core.pretrain import launch
from brainmass_core.pretrain.checkpoint import Checkpoints
from brainmass_core.pretrain.data import ShardError, Stream, index_shards
from brainmass_core.pretrain.distributed import Ranks
from brainmass_core.pretrain.launch import run
from brainmass_core.pretrain.loop import Interrupted, train
from brainmass_core.pretrain.prefetch import AHEAD, prefetched
from brainmass_core.tables import TableError, read_table

ALONE = Ranks(0, 1, 1, torch.device("cpu"))


def flip(path, column: str) -> None:
    """Invert 16 bytes in the middle of a column's pages: what a bad disk does."""
    chunk = pq.read_metadata(path).row_group(0)
    place = next(i for i in range(chunk.num_columns) if chunk.column(i).path_in_schema == column)
    meta = chunk.column(place)
    start = meta.dictionary_page_offset or meta.data_page_offset
    middle = start + meta.total_compressed_size // 2
    data = bytearray(path.read_bytes())
    data[middle : middle + 16] = bytes(255 - b for b in data[middle : middle + 16])
    path.write_bytes(data)


def test_a_flipped_byte_of_a_shard_stops_the_launcher_and_is_named(make_study, monkeypatch):
    study = make_study()
    path = study.paths.batch("pfc", "a", 1)
    flip(path, "fc")
    monkeypatch.setattr(launch, "_launch", lambda _: pytest.fail("training was started"))
    with pytest.raises(ShardError, match=r"pfc/a/1\.parquet: damaged .*pfc"):
        run(study.config, study.path)
    with pytest.raises(TableError, match=r"1\.parquet: damaged"):
        read_table(path, "pfc")


def test_a_flipped_byte_stops_a_run_that_would_resume(make_study, monkeypatch):
    study = make_study()
    index = index_shards(study.config)
    checkpoints = Checkpoints(study.config, index.fingerprint)
    calls = iter(range(2))
    with pytest.raises(Interrupted):
        train(study.config, index, checkpoints, ALONE, lambda: next(calls, None) is None)
    step = checkpoints.latest().step
    flip(study.paths.batch("pfc", "b", 0), "fc")
    monkeypatch.setattr(launch, "_launch", lambda _: pytest.fail("training was started"))
    with pytest.raises(ShardError, match=r"pfc/b/0\.parquet: damaged"):
        run(study.config, study.path)
    assert checkpoints.latest().step == step


@pytest.mark.parametrize("model", ["brainmass", "brainlm-tiny"])
def test_a_flipped_byte_of_a_time_series_table_stops_the_launcher(make_study, monkeypatch, model):
    study = make_study(model=model, source="timeseries")
    flip(study.paths.batch("timeseries", "a", 2), "bold.list.element.list.element")
    monkeypatch.setattr(launch, "_launch", lambda _: pytest.fail("training was started"))
    with pytest.raises(ShardError, match=r"timeseries/a/2\.parquet: damaged"):
        run(study.config, study.path)


def test_a_shard_that_is_lost_while_training_is_named_in_the_loop(make_study):
    study = make_study()
    index = index_shards(study.config)
    path = study.paths.batch("pfc", "a", 1)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ShardError, match=r"pfc/a/1\.parquet: row group 0"):
        train(study.config, index, Checkpoints(study.config, "x"), ALONE, lambda: False)


def test_batches_made_ahead_are_those_made_when_asked_for(make_study):
    index = index_shards(make_study().config)
    plain, ahead = (Stream(index, 0, 4, (5, 3)) for _ in range(2))
    for step, batch in enumerate(prefetched(ahead.batch, range(9))):
        assert batch.scan_ids == plain.batch(step).scan_ids
        assert batch.view_1.tobytes() == plain.batch(step).view_1.tobytes()


def test_making_never_runs_far_ahead_and_what_it_raises_comes_at_its_step():
    made, threads = [], set()

    def make(step: int) -> int:
        threads.add(threading.current_thread())
        made.append(step)
        if step == 4:
            raise ShardError("x.parquet: gone")
        return step

    batches = prefetched(make, range(10))
    for step in range(4):
        assert next(batches) == step
        time.sleep(0.02)
        assert made == list(range(min(5 + 9, step + AHEAD + 1)))
    with pytest.raises(ShardError, match=r"x\.parquet: gone"):
        next(batches)
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
    assert started.wait(5)  # nobody has asked for it yet
    batches.close()
