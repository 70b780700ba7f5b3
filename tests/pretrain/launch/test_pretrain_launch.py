"""Launching: the command line, kills and signals, agreement of ranks, and a result that is only
moved.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from brainmass_core.encoders.brainmass.model import BrainMass
from brainmass_core.pretrain.data.views import index_shards
from brainmass_core.pretrain.launch import torchrun as launch
from brainmass_core.pretrain.launch.slurm_nodes import Head, LaunchError
from brainmass_core.pretrain.launch.torchrun import run, torchrun_command
from brainmass_core.pretrain.loop.checkpoint import Checkpoints
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.train import Interrupted, train

FILES = ("model.safetensors", "config.json", "history.parquet", "loss.png", "README.md")
PRETRAIN = (
    "import sys, pathlib; from brainmass_core.config import load_config; "
    "from brainmass_core.pretrain.launch.torchrun import run; p = pathlib.Path(sys.argv[1]); "
    "run(load_config(p), p)"
)
LIMIT = 1500  # seconds; only a limit against hangs
FAMILIES = pytest.mark.parametrize("model", ["brainmass", "brainlm-tiny"])


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def published(study) -> dict[str, bytes]:
    folder = study.paths.pretrain(study.config.pretrain.model)
    return {name: (folder / name).read_bytes() for name in FILES}


def checkpoints_of(study) -> Checkpoints:
    return Checkpoints(study.config, index_shards(study.config).fingerprint)


def trained_here(study) -> None:
    """Train in this process, as one worker does, for comparison with a launched run."""
    torch.set_flush_denormal(True)
    alone = Ranks(0, 1, 1, torch.device("cpu"))
    train(study.config, index_shards(study.config), checkpoints_of(study), alone, lambda: False)
    torch.set_flush_denormal(False)


def encode(study) -> torch.Tensor:
    fc = torch.rand(4, 190, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return BrainMass.from_pretrained(study.paths.pretrain("brainmass")).encode(fc)


def start(study) -> subprocess.Popen:
    """Pre-train in a separate process group."""
    return subprocess.Popen(
        [sys.executable, "-c", PRETRAIN, str(study.path)],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_checkpoint(study, process: subprocess.Popen) -> Path:
    folder = checkpoints_of(study).folder
    deadline = time.monotonic() + LIMIT
    while not (files := sorted(folder.glob("step-*.pt"))):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return files[-1]


def test_one_machine_is_torchrun_standalone_with_all_processes(make_study):
    study = make_study().changed(nodes=2, processes_per_node=3)
    command = torchrun_command(study.config, Path("c.yaml"), "abc")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--max-restarts=0"]
    assert command[4:8] == torchrun
    assert {"--standalone", "--nproc-per-node=6"} <= set(command)
    worker = command[command.index("brainmass_core.pretrain.launch.worker") - 1 :]
    assert worker[0] == "-m"
    assert worker[2:] == ["--config", str(Path("c.yaml").absolute()), "--fingerprint", "abc"]
    assert "srun" not in command


def test_slurm_nodes_get_one_torchrun_each_that_meet_at_the_head(make_study):
    study = make_study().changed(nodes=2, processes_per_node=3)
    head = Head("40001", "10.0.0.7")
    command = torchrun_command(study.config, Path("/c.yaml"), "abc", head)
    inner = command.index(sys.executable)
    assert command[:inner] == [
        *("srun", "-N", "2", "-n", "2", "--ntasks-per-node=1", "-c", "1"),
        *("--overlap", "--kill-on-bad-exit=1", *launch.WRAPPER),
    ]
    assert {
        "--nnodes=2",
        "--nproc-per-node=3",
        "--rdzv-backend=c10d",
        "--rdzv-id=40001",
        "--rdzv-endpoint=10.0.0.7:20001",
    } <= set(command[inner:])


@pytest.mark.study
def test_a_failing_worker_is_reported_with_its_own_message(make_study, tmp_path):
    study = make_study()
    command = torchrun_command(study.config, tmp_path / "missing.yaml", "abc")
    with pytest.raises(LaunchError, match=r"status 1:\n.*missing\.yaml: no such configuration"):
        launch._launch(command)
    with pytest.raises(LaunchError, match=r"status 3:\nlast words"):
        launch._launch([sys.executable, "-c", "print('last words'); raise SystemExit(3)"])


@pytest.mark.slow
@pytest.mark.parametrize("passes", ["separate", "merged"])
def test_two_ranks_train_as_one_does_up_to_rounding_over_20_steps(make_study, passes):
    one = make_study(dropout=0.0, epochs=10, passes=passes)
    trained_here(one)
    run(one.config, one.path)  # publishes
    alone, encoded = checkpoints_of(one).latest(), encode(one)
    assert alone.step >= 20
    shutil.rmtree(checkpoints_of(one).work)
    two = one.changed(processes_per_node=2)
    run(two.config, two.path)
    state = checkpoints_of(two).latest()
    losses, expected = state.history[:, 3:7], alone.history[:, 3:7]
    print("largest relative difference of a loss:", ((losses - expected) / expected).abs().max())
    torch.testing.assert_close(losses[0], expected[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(state.history, alone.history, rtol=1e-3, atol=1e-5, equal_nan=True)
    # not the weights: batch norm and softmax cancel some biases, whose rounding Adam scales up
    torch.testing.assert_close(encode(two), encoded, rtol=1e-3, atol=1e-3)
    assert not torch.equal(losses[:, 0], expected[:, 0])  # two sums, so not the same bits


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "source", "passes"),
    [
        ("brainmass", "pfc", "separate"),
        ("brainmass", "timeseries", "separate"),
        ("brainmass", "pfc", "merged"),
        ("brainlm-tiny", "timeseries", "separate"),
    ],
)
def test_a_run_begun_by_one_process_and_ended_by_two_equals_that_of_one(
    make_study, model, source, passes
):
    study = make_study(model=model, dropout=0.0, epochs=4, source=source, passes=passes)
    trained_here(study)
    expected = checkpoints_of(study).latest()
    shutil.rmtree(checkpoints_of(study).work)
    calls = iter(range(4))
    with pytest.raises(Interrupted):
        train(
            *(study.config, index_shards(study.config), checkpoints_of(study)),
            *(Ranks(0, 1, 1, torch.device("cpu")), lambda: next(calls, None) is None),
        )
    assert 0 < checkpoints_of(study).latest().step < expected.step
    two = study.changed(processes_per_node=2)
    run(two.config, two.path)
    found, wanted = checkpoints_of(two).latest().history, expected.history
    assert not torch.equal(found[:, 3], wanted[:, 3])  # two sums
    if (
        model != "brainmass"
    ):  # each process has its own variance, and means over processes are shown
        torch.testing.assert_close(found[:, 4], wanted[:, 4], rtol=1e-2, atol=0)
        found[:, 4] = wanted[:, 4]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5, equal_nan=True)


def killed_within(study, kill: Callable[[subprocess.Popen], None]) -> str:
    """Start a new run, `kill` it after a checkpoint, and return its output.

    A run that ended before it was killed is not informative and is repeated.
    """
    for _ in range(10):
        shutil.rmtree(study.config.results / "pretrain", ignore_errors=True)
        shutil.rmtree(checkpoints_of(study).work, ignore_errors=True)
        process = start(study)
        wait_for_checkpoint(study, process)
        kill(process)
        output, _ = process.communicate(timeout=LIMIT)
        if not checkpoints_of(study).latest().finished:
            return output
    raise AssertionError("every run ended before it was killed")


def kill_all(study) -> Callable[[subprocess.Popen], None]:
    def kill(process: subprocess.Popen) -> None:
        worker = worker_of(study, 0)  # torchrun starts it in a separate session
        os.killpg(process.pid, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)

    return kill


@pytest.mark.slow
@FAMILIES
def test_a_twice_killed_run_started_again_gives_the_same_bytes(make_study, model):
    study = make_study(model=model, epochs=40, checkpoint_steps=3)
    trained_here(study)
    run(study.config, study.path)
    expected = published(study)

    killed_within(study, kill_all(study))
    step = checkpoints_of(study).latest().step
    assert 0 < step < 90
    process = start(study)
    while wait_for_checkpoint(study, process).name <= f"step-{step:09d}.pt":
        time.sleep(0.02)
    process.kill()  # only the launcher: torchrun and its workers live on and hold the lock
    output, _ = process.communicate(timeout=LIMIT)
    assert f"resuming after step {step} of 90" in output
    assert not (study.config.results / "pretrain").exists()
    run(study.config, study.path)
    assert published(study) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "number", "n_ranks"),
    [
        ("brainmass", signal.SIGUSR1, 1),  # time limit
        ("brainmass", signal.SIGTERM, 2),  # preemption
        ("brainlm-tiny", signal.SIGTERM, 1),
    ],
)
def test_a_request_to_stop_saves_the_state_at_the_step_it_came(make_study, model, number, n_ranks):
    settings = {"epochs": 2000, "checkpoint_steps": 5, "processes_per_node": n_ranks}
    study = make_study(model=model, **settings)
    process = start(study)
    wait_for_checkpoint(study, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + number, output
    assert "the state is saved" in output
    before = checkpoints_of(study).latest()
    assert f"stopped after step {before.step} of 4500" in output
    assert len(before.history) == before.step


@pytest.mark.slow
def test_a_signal_to_every_process_saves_the_state(make_study):
    study = make_study(epochs=2000, checkpoint_steps=5)
    process = start(study)
    wait_for_checkpoint(study, process)
    os.killpg(process.pid, signal.SIGUSR1)  # as `sbatch --signal` does; torchrun receives it, too
    output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + signal.SIGUSR1, output
    assert f"stopped after step {checkpoints_of(study).latest().step} of 4500" in output


@pytest.mark.study
@FAMILIES
def test_a_finished_run_is_only_published(make_study, monkeypatch, model):
    study = make_study(model=model, epochs=1)
    trained_here(study)
    monkeypatch.setattr(launch, "_launch", lambda _: pytest.fail("trained again"))
    run(study.config, study.path)
    expected = published(study)
    shutil.rmtree(study.config.results / "pretrain")
    run(study.config, study.path)
    assert published(study) == expected


def test_a_run_waits_for_one_that_outlived_its_launcher(make_study, monkeypatch):
    study = make_study()
    checkpoints = checkpoints_of(study)
    checkpoints.work.mkdir(parents=True)
    lock = FileLock(checkpoints.lock)
    lock.acquire()
    waited = []
    monkeypatch.setattr(launch.log, "warning", lambda *a: (waited.append(a), lock.release()))
    launch._wait_for_orphan(checkpoints)
    assert waited


def worker_of(study, rank: int) -> int:
    """Process id of a rank of this study."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # ended in the meantime
        ours = {b"brainmass_core.pretrain.launch.worker", str(study.path).encode()} <= set(words)
        if ours and f"RANK={rank}".encode() in environment:
            return int(entry.name)
    raise AssertionError(f"no rank {rank} of {study.path}")


@pytest.mark.study
def test_a_killed_rank_is_found_in_the_report_of_torchrun():
    report = """
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 16)  (SIGTERM)
Root Cause (first observed failure):
[0]:
  rank      : 3 (local_rank: 1)
  exitcode  : -9 (pid: 17)  (SIGKILL)
  traceback : Signal 9 (SIGKILL) received by PID 17"""
    code = f"print({report!r}); raise SystemExit(1)"
    with pytest.raises(LaunchError, match=r"status 1:\nrank 3 was killed by signal 9 \(Killed\)"):
        launch._launch([sys.executable, "-c", code])


@pytest.mark.nightly
@pytest.mark.slow
def test_a_rank_that_is_killed_is_named_and_the_same_command_goes_on_to_the_same_bytes(make_study):
    rank = 0  # which saves the state
    study = make_study(epochs=25, checkpoint_steps=3, processes_per_node=2)
    run(study.config, study.path)
    expected = published(study)

    # the launcher ends by itself
    output = killed_within(study, lambda _: os.kill(worker_of(study, rank), signal.SIGKILL))
    assert f"rank {rank} was killed by signal 9" in output
    assert 0 < checkpoints_of(study).latest().step < 50
    run(study.config, study.path)
    assert published(study) == expected
