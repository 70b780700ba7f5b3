"""The loop: exact resume, what a step does, what stops it."""

from __future__ import annotations

import itertools
import math
import resource

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.decomposition import PCA
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from brainmass_core.pretrain import loop, step
from brainmass_core.pretrain.checkpoint import CheckpointError, Checkpoints
from brainmass_core.pretrain.data import ShardError, index_shards
from brainmass_core.pretrain.distributed import Ranks
from brainmass_core.pretrain.loop import Interrupted, build_model, make_stream, train
from brainmass_core.pretrain.step import NonFiniteLoss, collapse_measures, learning_rate
from brainmass_core.tables import config_hash_of, write_table

ALONE = Ranks(0, 1, 1, torch.device("cpu"))


@pytest.fixture(autouse=True)
def deterministic():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def stop_after(n: int):
    calls = iter(range(n))
    return lambda: next(calls, None) is None


def never() -> bool:
    return False


def test_the_learning_rate_warms_up_by_epoch_and_stays():
    rates = [learning_rate(e, 3e-4, 10) for e in range(30)]
    assert rates[0] == pytest.approx(3e-5)
    assert rates[9:] == pytest.approx([3e-4] * 21)
    assert np.diff(rates[:10]) == pytest.approx(3e-5)


@pytest.mark.parametrize("interruptions", [[1], [3], [1, 1]])
def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    make_study, interruptions
):
    study = make_study()
    index = index_shards(study.config)
    whole = Checkpoints(study.config, "whole")
    train(study.config, index, whole, ALONE, never)
    expected = whole.latest()
    assert expected.finished
    assert expected.step == 6

    broken = Checkpoints(study.config, "broken")
    for n in interruptions:
        with pytest.raises(Interrupted):
            train(study.config, index, broken, ALONE, stop_after(n))
        torch.rand(3)  # the global generator must not matter
    train(study.config, index, broken, ALONE, never)
    found = broken.latest()
    assert found.history.numpy().tobytes() == expected.history.numpy().tobytes()
    assert all(torch.equal(found.model[k], v) for k, v in expected.model.items())


def test_training_lowers_the_loss_and_keeps_the_embedding_spread(make_study):
    study = make_study(n_a=40, epochs=25, warmup_epochs=1, lr=1e-3, dropout=0.0)
    checkpoints = Checkpoints(study.config, "x")
    train(study.config, index_shards(study.config), checkpoints, ALONE, never)
    history = checkpoints.latest().history
    loss = history[:, 3]
    assert loss[-8:].mean() < 0.8 * loss[:8].mean()
    measured = history[~history[:, 7].isnan()]
    assert measured[:, 0].tolist() == [*range(0, len(history), 10), len(history) - 1]
    assert measured[:, 8].min() > 2


def test_parts_add_up_to_the_total_with_the_configured_weights(make_study):
    study = make_study(lambda_classification=0.7, lambda_reconstruction=3.0, epochs=1)
    checkpoints = Checkpoints(study.config, "x")
    train(study.config, index_shards(study.config), checkpoints, ALONE, never)
    _, _, _, total, alignment, classification, reconstruction, *_ = checkpoints.latest().history.T
    torch.testing.assert_close(
        total, alignment + 0.7 * classification + 3 * reconstruction, rtol=1e-5, atol=0
    )
    assert (classification - math.log(5)).abs().max() < 1.5


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_scans(make_study):
    study = make_study()
    path = study.paths.batch("pfc", "b", 0)
    table = pq.ParquetFile(path).read()
    rows = table.to_pydict()
    bad = np.full(190, np.nan, dtype="<f2").tobytes()
    rows["fc"] = [
        bad if s == "b002" else fc for s, fc in zip(rows["scan_id"], rows["fc"], strict=True)
    ]
    table = type(table).from_pydict(rows, schema=table.schema)
    write_table(path, table, "pfc", config_hash_of(path), compression="none")
    index = index_shards(study.config)
    stream = make_stream(study.config, index, 0, 1)
    hit = next(s for s in range(6) if "b002" in stream.batch(s).scan_ids)
    checkpoints = Checkpoints(study.config, "x")
    with pytest.raises(NonFiniteLoss, match=rf"step {hit}: .*nan.*b002"):
        train(study.config, index, checkpoints, ALONE, never)
    kept = checkpoints.latest()
    assert kept is None or all(v.isfinite().all() for v in kept.model.values())


def test_a_checkpoint_with_another_batch_size_is_not_resumed(make_study, monkeypatch):
    study = make_study()
    index = index_shards(study.config)
    checkpoints = Checkpoints(study.config, "x")
    with pytest.raises(Interrupted):
        train(study.config, index, checkpoints, ALONE, stop_after(2))
    monkeypatch.setattr(loop, "global_batch_size", lambda *_: 6)
    with pytest.raises(ShardError, match="found a checkpoint with 8 scans per step, expected 6"):
        train(study.config, index, checkpoints, ALONE, never)


def test_only_the_newest_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(make_study):
    study = make_study(checkpoint_steps=1)
    checkpoints = Checkpoints(study.config, "x")
    train(study.config, index_shards(study.config), checkpoints, ALONE, never)
    files = sorted(checkpoints.folder.glob("*.pt"))
    assert [f.name for f in files] == ["step-000000005.pt", "step-000000006.pt"]
    files[1].write_bytes(files[1].read_bytes()[:1000])
    assert checkpoints.latest().step == 5
    other = Checkpoints(study.changed(lr=1e-4).config, "x")
    assert other.folder != checkpoints.folder
    assert other.latest() is None


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(make_study):
    study = make_study()
    index = index_shards(study.config)
    checkpoints = Checkpoints(study.config, "x")
    with pytest.raises(Interrupted):
        train(study.config, index, checkpoints, ALONE, stop_after(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"cannot write the checkpoint of step 4 .* free"):
            train(study.config, index, checkpoints, ALONE, never)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [f.name for f in checkpoints.folder.glob("step*")] == ["step-000000002.pt"]
    assert list(checkpoints.folder.glob(".step*")) == []
    train(study.config, index, checkpoints, ALONE, never)
    assert checkpoints.latest().finished


def test_bfloat16_gives_nearly_the_same_losses(make_study):
    study = make_study(dropout=0.0)
    lower = study.changed(precision="bfloat16")
    index = index_shards(study.config)
    losses = []
    for config in (study.config, lower.config):
        model = build_model(config, index.n_rois).train()
        batch = make_stream(config, index, 0, 1).batch(0)
        total, _ = step.losses_of(model, batch, config.pretrain, ALONE)
        losses.append(total.item())
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


def test_effective_rank_counts_directions_and_a_collapse_shows():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((30, 30)))[0][:, :5]
    scores = np.linalg.qr(rng.standard_normal((64, 5)))[0]
    scores = np.linalg.qr(scores - scores.mean(0))[0]  # equal spread along five directions
    x = scores @ basis.T
    std, rank, *_ = collapse_measures(torch.from_numpy(x).expand(2, -1, -1), ALONE)
    assert rank == pytest.approx(5, rel=1e-3)
    assert std == pytest.approx(x.std(0).mean(), rel=1e-5)

    y = rng.standard_normal((40, 12)) * np.arange(1, 13)
    share = PCA().fit(y).singular_values_
    share = share / share.sum()
    expected = np.exp(-(share * np.log(share)).sum())
    both = torch.from_numpy(y).expand(2, -1, -1)
    assert collapse_measures(both, ALONE)[1] == pytest.approx(expected, rel=1e-3)
    assert collapse_measures(torch.ones(2, 8, 12), ALONE) == (0.0, 1.0, 0.0, 0.0)


def test_view_distance_and_uniformity_are_those_of_their_definition():
    views = np.random.default_rng(0).standard_normal((2, 6, 4)) + 1
    a, b = views / np.linalg.norm(views, axis=2, keepdims=True)
    pairs = [np.exp(-2 * np.sum((a[i] - a[j]) ** 2)) for i in range(6) for j in range(i)]
    *_, distance, uniformity = collapse_measures(torch.from_numpy(views), ALONE)
    assert distance == pytest.approx(np.mean(np.sum((a - b) ** 2, axis=1)), rel=1e-6)
    assert uniformity == pytest.approx(np.log(np.mean(pairs)), rel=1e-5)
    # scans at opposite places, views of each at the same: as good as it gets
    best = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).expand(2, -1, -1)
    assert collapse_measures(best, ALONE)[2:] == pytest.approx((0.0, -8.0))


def test_tensorboard_shows_samples_per_second(make_study, monkeypatch):
    study = make_study()
    times = itertools.count(0.0, 0.5)  # seconds: one reading before the first step, one per step
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(loop, "LOG_SECONDS", 0)
    checkpoints = Checkpoints(study.config, "x")
    train(study.config, index_shards(study.config), checkpoints, ALONE, never)
    events = EventAccumulator(str(checkpoints.folder / "tensorboard")).Reload()
    shown = [event.value for event in events.Scalars("samples_per_second")]
    assert len(shown) == 6
    assert all(rate == pytest.approx(8 / 0.5) for rate in shown)
