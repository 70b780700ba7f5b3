"""The loop: exact resumption, the steps, and what stops it."""

from __future__ import annotations

import itertools
import math
import os
import re
import resource
import subprocess

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.decomposition import PCA

from brainmass_core.pretrain import model_spec
from brainmass_core.pretrain.data.views import ShardError, index_shards
from brainmass_core.pretrain.loop import step as steps
from brainmass_core.pretrain.loop import train as loop
from brainmass_core.pretrain.loop.checkpoint import CheckpointError, Checkpoints
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.step import NonFiniteLoss, collapse_measures
from brainmass_core.pretrain.loop.train import Interrupted, build_model, make_stream, train
from brainmass_core.tables import config_hash_of, write_table

ALONE = Ranks(0, 1, 1, torch.device("cpu"))
FAMILIES = pytest.mark.parametrize("model", ["brainmass", "brainlm-tiny"])
PASSES = pytest.mark.parametrize("passes", ["separate", "merged"])


@pytest.fixture(autouse=True)
def deterministic(monkeypatch):
    monkeypatch.setattr(loop, "share_of_peak", lambda *_: math.nan)  # seconds at each start
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


def assert_same(found, expected) -> None:
    """Loss curve, weights and moments are equal bit by bit."""
    assert found.history.numpy().tobytes() == expected.history.numpy().tobytes()
    assert all(torch.equal(found.model[k], v) for k, v in expected.model.items())
    for moments, others in zip(
        found.optimiser["state"].values(), expected.optimiser["state"].values(), strict=True
    ):
        assert all(torch.equal(moments[k], others[k]) for k in others)


class Crash(Exception):  # noqa: N818 - no error of ours
    """An exception that no code of this package handles."""


def crash_after(n: int):
    calls = itertools.count()

    def ask() -> bool:
        if next(calls) == n:
            raise Crash
        return False

    return ask


@pytest.mark.study
@pytest.mark.parametrize(
    "settings",
    [
        {"model": "brainmass", "schedule": "constant"},
        {"model": "brainmass", "schedule": "cosine"},
        {"model": "brainmass", "passes": "merged"},
        {"model": "brainlm-tiny", "schedule": "cosine"},
        {"model": "brainlm-vit-tiny", "schedule": "constant"},
    ],
    ids=lambda settings: "-".join(settings.values()),
)
def test_a_run_interrupted_at_any_step_and_resumed_equals_an_uninterrupted_one_to_the_bit(
    make_study, settings
):
    study = make_study(epochs=2, warmup_epochs=1, checkpoint_steps=3, **settings)
    index = index_shards(study.config)
    whole = Checkpoints(study.config, "whole")
    train(study.config, index, whole, ALONE, never)
    expected = whole.latest()
    assert expected.finished
    epochs = expected.history[:, 1].diff()
    assert 0 in epochs  # so some interruptions are within an epoch
    assert 1 in epochs  # and some between two
    for step in range(1, expected.step):
        broken = Checkpoints(study.config, f"stopped-{step}")
        with pytest.raises(Interrupted, match=f"stopped after step {step} of {expected.step}"):
            train(study.config, index, broken, ALONE, stop_after(step - 1))
        assert broken.latest().step == step
        torch.rand(3)  # the global generator must have no influence
        train(study.config, index, broken, ALONE, never)
        assert_same(broken.latest(), expected)


@pytest.mark.study
@FAMILIES
def test_a_run_that_crashes_in_any_step_goes_on_from_its_last_checkpoint_to_the_same_bits(
    make_study, model
):
    study = make_study(model=model, epochs=2)
    index = index_shards(study.config)
    whole = Checkpoints(study.config, "whole")
    train(study.config, index, whole, ALONE, never)
    for step in range(whole.latest().step):
        broken = Checkpoints(study.config, f"crashed-{step}")
        with pytest.raises(Crash):
            train(study.config, index, broken, ALONE, crash_after(step))
        left = broken.latest()
        assert (left.step if left else 0) == step // 2 * 2
        train(study.config, index, broken, ALONE, never)
        assert_same(broken.latest(), whole.latest())


@pytest.mark.study
@FAMILIES
def test_a_run_interrupted_again_and_again_equals_an_uninterrupted_one_to_the_bit(
    make_study, model
):
    study = make_study(model=model)
    index = index_shards(study.config)
    whole, broken = (Checkpoints(study.config, name) for name in ("whole", "broken"))
    train(study.config, index, whole, ALONE, never)
    for _ in range(5):
        with pytest.raises(Interrupted):
            train(study.config, index, broken, ALONE, stop_after(0))
    train(study.config, index, broken, ALONE, never)
    assert_same(broken.latest(), whole.latest())


@pytest.mark.study
@PASSES
def test_training_lowers_the_loss_and_keeps_the_embedding_spread(make_study, passes):
    settings = {"epochs": 24, "warmup_epochs": 1, "lr": 2e-3, "dropout": 0.0, "passes": passes}
    study = make_study(checkpoint_steps=99, **settings)
    checkpoints = Checkpoints(study.config, "x")
    train(study.config, index_shards(study.config), checkpoints, ALONE, never)
    history = checkpoints.latest().history
    loss = history[:, 3]
    assert loss[-8:].mean() < 0.8 * loss[:8].mean()
    measured = history[~history[:, 7].isnan()]
    assert measured[:, 0].tolist() == [*range(0, len(history), 10), len(history) - 1]
    assert measured[:, 8].min() > 2


@pytest.mark.study
def test_parts_add_up_to_the_total_with_the_configured_weights(make_study):
    study = make_study(lambda_classification=0.7, lambda_reconstruction=3.0, epochs=1)
    checkpoints = Checkpoints(study.config, "x")
    train(study.config, index_shards(study.config), checkpoints, ALONE, never)
    _, _, _, total, alignment, classification, reconstruction, *_ = checkpoints.latest().history.T
    torch.testing.assert_close(
        total, alignment + 0.7 * classification + 3 * reconstruction, rtol=1e-5, atol=0
    )
    assert (classification - math.log(5)).abs().max() < 1.5


def spoil(study, source: str, scan_id: str) -> None:
    """Values of one scan that make the loss infinite, in a table that is otherwise valid."""
    path = study.paths.batch(source, "b", 0)
    table = pq.ParquetFile(path).read()
    rows = table.to_pylist()
    for row in rows:
        if row["scan_id"] == scan_id and source == "pfc":
            row["fc"] = np.full(190, np.nan, dtype="<f2").tobytes()
        elif row["scan_id"] == scan_id:
            row["bold"] = (1e30 * np.array(row["bold"])).tolist()  # its square is infinite
    table = type(table).from_pylist(rows, schema=table.schema)
    write_table(path, table, source, config_hash_of(path), compression="none")


@pytest.mark.study
@pytest.mark.parametrize(
    ("model", "source"), [("brainmass", "pfc"), ("brainlm-tiny", "timeseries")]
)
def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_scans(
    make_study, model, source
):
    study = make_study(model=model, source=source)
    spoil(study, source, "b002")
    index = index_shards(study.config)
    stream = make_stream(study.config, index, 0, 1)
    hit = next(s for s in range(6) if "b002" in stream.batch(s).scan_ids)
    checkpoints = Checkpoints(study.config, "x")
    with pytest.raises(NonFiniteLoss, match=rf"step {hit}: .*total (nan|inf).*b002") as caught:
        train(study.config, index, checkpoints, ALONE, never)
    kept = checkpoints.latest()
    assert kept is None or all(v.isfinite().all() for v in kept.model.values())
    last = f"{checkpoints.newest()} (after step {hit // 2 * 2})" if hit > 1 else "none was written"
    assert f"Last valid checkpoint: {last}" in str(caught.value)


@pytest.mark.study
def test_the_message_names_the_last_checkpoint_and_its_step(make_study, monkeypatch):
    study = make_study()
    checkpoints = Checkpoints(study.config, "x")
    with pytest.raises(Interrupted):
        train(study.config, index_shards(study.config), checkpoints, ALONE, stop_after(2))

    def broken(*_):
        raise NonFiniteLoss("the loss is not finite: alignment nan")

    monkeypatch.setattr(loop, "train_step", broken)
    path = checkpoints.folder / "step-000000003.pt"
    pattern = rf"epoch 1, step 3: .*Last valid checkpoint: {re.escape(str(path))} \(after step 3\)"
    with pytest.raises(NonFiniteLoss, match=pattern):
        train(study.config, index_shards(study.config), checkpoints, ALONE, never)
    assert path.exists()


@pytest.mark.study
@pytest.mark.parametrize(
    ("model", "name", "step"),
    [
        *(("brainmass", "online.readout.0.weight", step) for step in (1, 3, 4)),
        ("brainlm-tiny", "decoder.embed.weight", 3),
    ],
)
def test_weights_that_a_gradient_broke_do_not_become_a_checkpoint(
    make_study, monkeypatch, model, name, step
):
    """The loss of the step is finite; only the next one, after the checkpoint, would not be."""
    study = make_study(model=model)
    index = index_shards(study.config)
    build, calls = loop.build_model, itertools.count()

    def built(*arguments):
        model = build(*arguments)
        weight = model.get_parameter(name)
        weight.register_hook(lambda g: g * math.nan if next(calls) == step else g)
        return model

    monkeypatch.setattr(loop, "build_model", built)
    checkpoints = Checkpoints(study.config, "x")
    with pytest.raises(NonFiniteLoss, match=r"Last valid checkpoint: (none|.*after step [24])"):
        train(study.config, index, checkpoints, ALONE, never)
    kept = checkpoints.latest()
    assert (kept.step if kept else 0) == step // 2 * 2
    assert kept is None or all(v.isfinite().all() for v in kept.model.values())
    monkeypatch.undo()
    train(study.config, index, checkpoints, ALONE, never)
    assert checkpoints.latest().finished


@pytest.mark.study
def test_a_checkpoint_with_another_batch_size_is_not_resumed(make_study, monkeypatch):
    study = make_study()
    index = index_shards(study.config)
    checkpoints = Checkpoints(study.config, "x")
    with pytest.raises(Interrupted):
        train(study.config, index, checkpoints, ALONE, stop_after(2))
    monkeypatch.setattr(model_spec, "global_batch_size", lambda *_: 6)
    with pytest.raises(ShardError, match="found a checkpoint with 8 scans per step, expected 6"):
        train(study.config, index, checkpoints, ALONE, never)


@pytest.mark.study
@FAMILIES
def test_only_the_newest_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(
    make_study, model
):
    study = make_study(model=model, checkpoint_steps=1)
    checkpoints = Checkpoints(study.config, "x")
    train(study.config, index_shards(study.config), checkpoints, ALONE, never)
    files = sorted(checkpoints.folder.glob("*.pt"))
    assert [f.name for f in files] == ["step-000000005.pt", "step-000000006.pt"]
    files[1].write_bytes(files[1].read_bytes()[:1000])
    assert checkpoints.latest().step == 5
    other = Checkpoints(study.changed(lr=1e-4).config, "x")
    assert other.folder != checkpoints.folder
    assert other.latest() is None


@pytest.mark.study
@FAMILIES
def test_a_full_disk_is_said_and_the_last_checkpoint_stays(make_study, model):
    study = make_study(model=model)
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


@pytest.mark.study
@PASSES
def test_bfloat16_gives_nearly_the_same_losses(make_study, passes):
    study = make_study(dropout=0.0, passes=passes)
    lower = study.changed(precision="bfloat16")
    index = index_shards(study.config)
    losses = []
    for config in (study.config, lower.config):
        model = build_model(config, index.n_rois).train()
        batch = make_stream(config, index, 0, 1).batch(0)
        total, _ = steps.losses_of(model, batch, config.pretrain, ALONE)
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
    # scans at opposite points, views of each at the same point: the best possible result
    best = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).expand(2, -1, -1)
    assert collapse_measures(best, ALONE)[2:] == pytest.approx((0.0, -8.0))


def only_the_second_step_checkpoint(checkpoints: Checkpoints) -> bool:
    """Complete, and without a remainder of the failed one."""
    files = [f.name for f in checkpoints.folder.iterdir() if f.suffix == ".pt" or f.name[0] == "."]
    return files == ["step-000000002.pt"] and checkpoints.latest().step == 2


@pytest.mark.study
@FAMILIES
def test_a_disk_without_space_is_said_and_the_last_checkpoint_stays(make_study, model):
    """ENOSPC from the kernel, on a separate file system."""
    study = make_study(model=model)
    index = index_shards(study.config)
    checkpoints = Checkpoints(study.config, "x")
    checkpoints.folder.mkdir(parents=True)
    mounted = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(checkpoints.folder)]
    if os.geteuid() != 0 or subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        with pytest.raises(Interrupted):
            train(study.config, index, checkpoints, ALONE, stop_after(1))
        filling = checkpoints.folder / "filling"
        room = os.statvfs(checkpoints.folder)
        filling.write_bytes(bytes(room.f_bavail * room.f_bsize - 100_000))
        with pytest.raises(CheckpointError, match=r"of step 4 .*, 0\.[01] MB are free there"):
            train(study.config, index, checkpoints, ALONE, never)
        assert only_the_second_step_checkpoint(checkpoints)
        filling.unlink()
        subprocess.run(["mount", "-o", "remount,size=50m", checkpoints.folder], check=True)
        train(study.config, index, checkpoints, ALONE, never)
        assert checkpoints.latest().finished
    finally:
        subprocess.run(["umount", "--lazy", checkpoints.folder], check=True)


@pytest.mark.parametrize(
    "compiler",
    [
        pytest.param("eager", marks=pytest.mark.study),
        # the compiler of C++ may take minutes beside other work
        pytest.param("inductor", marks=[pytest.mark.slow, pytest.mark.nightly]),
    ],
)
def test_compiled_and_eager_training_agree_to_rounding_and_in_names(
    make_study, monkeypatch, compiler
):
    monkeypatch.setattr(loop, "COMPILER", compiler)
    eager = make_study(dropout=0.0, epochs=2, warmup_epochs=1)
    index = index_shards(eager.config)
    states = []
    for study in (eager, eager.changed(compile=True)):
        checkpoints = Checkpoints(study.config, f"compile {study.config.pretrain.compile}")
        train(study.config, index, checkpoints, ALONE, never)
        states.append(checkpoints.latest())
    plain, compiled = states
    assert list(plain.model) == list(compiled.model)
    torch.testing.assert_close(
        compiled.history[:, 3:7], plain.history[:, 3:7], rtol=1e-4, atol=1e-5
    )
    # the same folder: a run may continue with the other setting
    assert Checkpoints(study.config, "x").folder == Checkpoints(eager.config, "x").folder


def test_the_model_is_compiled_where_it_was_asked_for():
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert [loop.compiles(s, cpu) for s in (False, True, "auto")] == [False, True, False]
    assert [loop.compiles(s, gpu) for s in (False, True, "auto")] == [False, True, True]


@pytest.mark.slow
def test_a_compiled_run_interrupted_and_resumed_equals_an_uninterrupted_one_to_the_bit(
    make_study, monkeypatch
):
    monkeypatch.setattr(loop, "COMPILER", "aot_eager")
    study = make_study(compile=True)
    index = index_shards(study.config)
    whole, broken = (Checkpoints(study.config, name) for name in ("whole", "broken"))
    train(study.config, index, whole, ALONE, never)
    with pytest.raises(Interrupted):
        train(study.config, index, broken, ALONE, stop_after(2))
    train(study.config, index, broken, ALONE, never)
    assert_same(broken.latest(), whole.latest())
