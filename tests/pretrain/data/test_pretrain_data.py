"""Streaming: each scan once per epoch, the same batches for any number of ranks, refusals."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from brainmass_core.pretrain.data import order
from brainmass_core.pretrain.data import views as data
from brainmass_core.pretrain.data.order import Sequence, draw
from brainmass_core.pretrain.data.views import (
    ShardError,
    Stream,
    epoch_order,
    global_batch_size,
    index_shards,
)
from brainmass_core.scans import ScansError
from brainmass_core.tables import SCANS, config_hash_of, from_rows, read_table, write_table


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 80), min_size=1, max_size=40), st.integers(0, 50))
def test_every_scan_comes_once_per_epoch(sizes, epoch):
    order = epoch_order(np.array(sizes), seed=1, epoch=epoch)
    expected = [(g, i) for g, n in enumerate(sizes) for i in range(n)]
    assert sorted(map(tuple, order.tolist())) == expected


def test_epochs_differ_in_order_and_scans_of_a_group_are_spread():
    sizes = np.full(40, 64)
    first, second = epoch_order(sizes, 0, 0), epoch_order(sizes, 0, 1)
    assert (first != second).any()
    np.testing.assert_array_equal(first, epoch_order(sizes, 0, 0))
    neighbours = np.mean(np.diff(first[:, 0]) == 0)
    assert neighbours < 0.25  # one in eight by chance


def test_a_group_is_read_once_per_epoch_and_memory_is_bounded(make_study, monkeypatch):
    index = index_shards(make_study(n_a=200).config)
    split = [data.Group(g.file, g.row_group, g.scan_ids) for g in index.groups for _ in range(20)]
    index = data.Index(split, index.n_rois, index.n_views, index.sources, "")
    monkeypatch.setattr(order, "BUFFER_SCANS", 200)
    stream = Stream(index, 0, 32, (5, 3))
    largest, reads = 0, 0
    for step in range(stream.n_steps(2)):
        before = set(stream._held)
        stream.batch(step)
        reads += len(set(stream._held) - before)
        largest = max(largest, sum(len(scans) for scans in stream._held.values()))
    assert reads <= 2 * len(split)
    assert largest <= 2 * 200 + 2 * 64


def test_what_may_be_held_is_read_once_and_changes_nothing(make_study, monkeypatch):
    index = index_shards(make_study(n_a=60, n_b=20).config)
    monkeypatch.setattr(order, "BUFFER_SCANS", 4)
    reads = []
    whole = Stream._read_pfc
    monkeypatch.setattr(Stream, "_read_pfc", lambda s, g: (reads.append(g), whole(s, g))[1])
    bounded, holding = (Stream(index, 0, 4, (5, 3), memory=m) for m in (0, 10**9))
    for step in range(bounded.n_steps(3)):
        one = bounded.batch(step)
        n = len(reads)
        two = holding.batch(step)
        assert step < bounded.n_steps(1) or len(reads) == n
        np.testing.assert_array_equal(one.view_1, two.view_1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 80), min_size=1, max_size=20), st.integers(1, 5), st.integers(2, 100)
)
def test_batches_run_over_the_end_of_an_epoch_and_lose_no_scan(sizes, epochs, batch_size):
    n = sum(sizes)
    batch_size = min(batch_size, n)
    sequence = Sequence(np.array(sizes), 1, batch_size)
    steps = [sequence.batch(s) for s in range(sequence.n_steps(epochs))]
    assert {len(s) for s in steps} == {batch_size}
    assert 0 <= epochs * n - len(steps) * batch_size < batch_size
    rows = np.concatenate(steps)
    for epoch in range(epochs):
        seen = rows[rows[:, 0] == epoch, 1:].tolist()
        expected = [[g, i] for g, m in enumerate(sizes) for i in range(m)]
        if epoch < epochs - 1:
            assert sorted(seen) == expected
        assert len(seen) == len(set(map(tuple, seen)))
    first = [slots[:, 0].min() for slots in steps]
    assert [sequence.epoch_of(s) for s in range(len(steps))] == first


def test_drawn_numbers_are_distinct_and_every_order_is_as_likely():
    rows = draw(order.generator(0, 0), 24_000, 4, 3)
    assert (np.sort(rows, 1)[:, 1:] != np.sort(rows, 1)[:, :-1]).all()
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(counts) == 24
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("n_ranks", [2, 4])
def test_slices_of_the_ranks_make_up_the_batch_of_one_process(make_study, n_ranks):
    index = index_shards(make_study().config)
    whole = Stream(index, 3, 8, (5, 3)).batch(3)
    parts = [Stream(index, 3, 8, (5, 3), rank, n_ranks).batch(3) for rank in range(n_ranks)]
    for name in ("view_1", "view_2", "masked_for_class", "masked_for_values"):
        joined = np.concatenate([getattr(p, name) for p in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    assert all(p.scan_ids == whole.scan_ids for p in parts)


def test_a_batch_holds_two_different_views_of_each_of_its_scans(make_study):
    study = make_study()
    index = index_shards(study.config)
    stored = {}
    for file in {g.file for g in index.groups}:
        for row in pq.ParquetFile(file).read().to_pylist():
            stored.setdefault(row["scan_id"], []).append(row["fc"])
    stream = Stream(index, 0, 8, (5, 3))
    seen = set()
    for step in range(1, 13, 2):
        batch = stream.batch(step)
        for scan, one, two in zip(batch.scan_ids, batch.view_1, batch.view_2, strict=True):
            pair = (stored[scan].index(one.tobytes()), stored[scan].index(two.tobytes()))
            assert pair[0] != pair[1]
            seen.add(pair)
    assert len(seen) == 6  # all ordered pairs of three views
    assert all(len(set(row)) == 5 for row in batch.masked_for_class)


def test_a_step_can_be_made_without_those_before(make_study):
    index = index_shards(make_study().config)
    stream = Stream(index, 0, 4, (5, 3))
    walked = [stream.batch(s) for s in range(stream.n_steps(3))]
    alone = Stream(index, 0, 4, (5, 3)).batch(len(walked) - 1)
    np.testing.assert_array_equal(alone.view_1, walked[-1].view_1)
    assert alone.scan_ids == walked[-1].scan_ids


def test_shards_hold_no_scan_kept_for_evaluation_and_counts_agree(make_study):
    index = index_shards(make_study().config)
    ids = {s for g in index.groups for s in g.scan_ids}
    assert ids == {f"a{k:03}" for k in range(14) if k % 5 != 4} | {f"b{k:03}" for k in range(6)}
    assert [(s.dataset, s.n_scans, s.n_participants) for s in index.sources] == [
        *(("a", 12, 12), ("b", 6, 6))
    ]


@pytest.mark.parametrize("through", ["scan", "another scan of the participant", "unknown"])
def test_a_scan_kept_for_evaluation_is_refused(make_study, through):
    study = make_study()
    path = study.paths.scans("a")
    rows = read_table(path, "scans").to_pylist()
    row = next(r for r in rows if r["scan_id"] == "a003")
    if through == "scan":
        row["split"] = "test"
    elif through == "unknown":
        rows.remove(row)
    else:
        rows.append({**row, "scan_id": "a003_run-2", "split": "test"})
    write_table(path, from_rows(rows, SCANS), "scans")
    with pytest.raises(ShardError, match=r"pFC of a: 1 scans are not free.*a003"):
        index_shards(study.config)


def test_a_scan_id_that_two_data_sets_share_is_refused(make_study):
    study = make_study()
    path = study.paths.scans("b")
    rows = read_table(path, "scans").to_pylist()
    rows[0]["scan_id"] = "a000"
    write_table(path, from_rows(rows, SCANS), "scans")
    with pytest.raises(ScansError, match=r"(?s)a000.*a.*b"):
        index_shards(study.config)


def test_shards_of_another_configuration_version_or_kind_are_refused(make_study):
    study = make_study()
    path = study.paths.batch("pfc", "a", 1)
    good, config_hash = pq.ParquetFile(path).read(), config_hash_of(path)
    write_table(path, good, "pfc", "0123456789ab")
    with pytest.raises(ShardError, match=r"1\.parquet: found brainmass_config_hash '0123456789ab'"):
        index_shards(study.config)
    write_table(path, good, "connectivity", config_hash)
    with pytest.raises(ShardError, match="found brainmass_table 'connectivity', expected 'pfc'"):
        index_shards(study.config)
    write_table(path, good.slice(1), "pfc", config_hash)
    with pytest.raises(ShardError, match="row group 0 does not hold whole scans of 3 views"):
        index_shards(study.config)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ShardError, match=r"1\.parquet: damaged Parquet file"):
        index_shards(study.config)
    path.unlink()
    with pytest.raises(ShardError, match="no such pFC shard; run: snakemake --cores all pfc"):
        index_shards(study.config)


def test_the_fingerprint_changes_with_a_single_value(make_study):
    study = make_study()
    before = index_shards(study.config).fingerprint
    assert before == index_shards(study.config).fingerprint
    path = study.paths.batch("pfc", "b", 0)
    table = pq.ParquetFile(path).read().to_pydict()
    table["fc"][0] = b"\x01" + table["fc"][0][1:]
    schema = pq.read_schema(path)
    changed = pa.Table.from_pydict(table, schema=schema)
    write_table(path, changed, "pfc", config_hash_of(path), compression="none")
    assert index_shards(study.config).fingerprint != before


@pytest.mark.parametrize(
    ("wanted", "n_scans", "n_ranks", "size"),
    [(256, 1000, 4, 256), (32, 7, 1, 6), (32, 7, 2, 6), (2, 2, 1, 2), (30, 17, 3, 15)],
)
def test_batch_size_is_as_configured_or_nearly_all_scans(wanted, n_scans, n_ranks, size):
    assert global_batch_size(wanted, n_scans, n_ranks) == size


@given(st.integers(2, 600), st.sampled_from([1, 2, 4, 8]))
def test_the_batch_is_the_same_for_one_two_four_and_eight_processes(n_scans, n_ranks):
    if n_scans >= 2 * n_ranks:
        assert global_batch_size(256, n_scans, n_ranks) == global_batch_size(256, n_scans, 1)


def test_batches_that_batch_norm_or_equal_shares_do_not_allow_are_refused():
    with pytest.raises(ShardError, match=r"batch_size 32 cannot be split over 3.* 30"):
        global_batch_size(32, 100, 3)
    with pytest.raises(ShardError, match=r"found 3 scans .* at least 2 scans for each of 2"):
        global_batch_size(32, 3, 2)
    with pytest.raises(ShardError, match="found 0 scans"):
        global_batch_size(32, 0, 1)
