"""Run pre-training through torchrun, on one machine or the nodes of a Slurm job."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from brainmass_core.config import Config
from brainmass_core.pretrain.artefacts import publish
from brainmass_core.pretrain.data.tested_people import refuse_tested_people
from brainmass_core.pretrain.data.views import index_shards
from brainmass_core.pretrain.launch.slurm_nodes import (
    TORCHRUN,
    WRAPPER,
    Head,
    LaunchError,
    over_nodes,
    slurm_head,
)
from brainmass_core.pretrain.loop.checkpoint import Checkpoints
from brainmass_core.pretrain.loop.train import build_model
from brainmass_core.pretrain.model_specs import model_spec_of

log = logging.getLogger(__name__)
LAST_LINES = 25
ERROR_MARK = "error: "  # prefix of a worker's own message in the output of torchrun
# lines in torchrun's report of a failed process
RANK_LINE = re.compile(r"\brank\s*: (\d+) \(local_rank: ")
SIGNAL_LINE = re.compile(r"\bexitcode\s*: -(\d+) \(pid: ")


def run(config: Config, config_path: Path) -> None:
    """Pre-train and write the model, resuming from the latest checkpoint.

    If training had finished without writing the model, it is only written.

    Raises
    ------
    ShardError, TableError
        If the pFC tables or time series cannot be used.
    LeakError
        If a task tests a participant who would be pre-trained on.
    LaunchError
        If training fails; the message contains the reason or the last lines.
    """
    refuse_tested_people(config)
    index = index_shards(config)
    build_model(config, index.n_rois)  # refuses a wrong number of heads before the launch
    checkpoints = Checkpoints(config, index.fingerprint)
    _wait_for_orphan(checkpoints)
    state = checkpoints.latest()
    if state is None or not state.finished:
        head = slurm_head(config.pretrain.nodes)
        n_ranks = config.pretrain.nodes * processes_per_node(config)
        model_spec_of(config.pretrain).check(config, index, n_ranks)
        command = torchrun_command(config, config_path, index.fingerprint, head)
        _launch(command)
        state = checkpoints.latest()
    if state is None or not state.finished:
        raise LaunchError(
            f"training ended, but {checkpoints.folder} contains no finished checkpoint"
        )
    publish(config, index, state)


def processes_per_node(config: Config) -> int:
    """As configured; 0 means one per GPU, or one on the CPU."""
    return config.pretrain.processes_per_node or torch.cuda.device_count() or 1


def torchrun_command(
    config: Config, config_path: Path, fingerprint: str, head: Head | None = None
) -> list[str]:
    """The command line of torchrun, as a list.

    Parameters
    ----------
    fingerprint : str
        Fingerprint of the input tables.
    head : Head, optional
        Head of the Slurm job whose nodes are used; without it, all processes start here.
    """
    nodes, each = config.pretrain.nodes, processes_per_node(config)
    worker = ["-m", "brainmass_core.pretrain.launch.worker"]
    worker += ["--config", str(config_path.absolute()), "--fingerprint", fingerprint]
    if head is None:
        return [*TORCHRUN, "--standalone", f"--nproc-per-node={nodes * each}", *worker]
    cpus = config.stage_resources("pretrain").cpus_per_task
    return over_nodes(head, nodes, each, cpus, worker)


def _wait_for_orphan(checkpoints: Checkpoints) -> None:
    """Wait for a training that is still running after its launcher has ended."""
    checkpoints.work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(checkpoints.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("%s: an earlier run is still training there; waiting for it", checkpoints.work)
        lock.acquire()
    lock.release()


def _launch(command: list[str]) -> None:
    """Run torchrun, forward its output, and stop it if this process is asked to stop.

    Raises
    ------
    LaunchError
        If it fails.
    SystemExit
        If this process was asked to stop.
    """
    log.info("%s", " ".join(word for word in command if word not in WRAPPER))
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONUNBUFFERED": "1"}
    lines: deque[str] = deque(maxlen=LAST_LINES)
    reasons: list[str] = []
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process,
        _forwarded_signals(process) as received,
    ):
        assert process.stdout is not None
        rank = "?"
        for line in process.stdout:
            print(line, end="", file=sys.stderr, flush=True)
            lines.append(line.rstrip())
            if found := RANK_LINE.search(line):
                rank = found.group(1)
            elif found := SIGNAL_LINE.search(line):
                reasons += _killed(rank, int(found.group(1)))
            elif ERROR_MARK in line:  # srun and torchrun may add a prefix
                reasons.append(line.split(ERROR_MARK, 1)[1].rstrip())
    if received:
        raise SystemExit(128 + received[0])
    if process.returncode != 0:
        reason = "\n".join(dict.fromkeys(reasons)) or "\n".join(lines)
        raise LaunchError(f"training failed with status {process.returncode}:\n{reason}")


def _killed(rank: str, number: int) -> list[str]:
    """Message for a killed rank, ignoring ranks that torchrun stopped because of it."""
    if number == signal.SIGTERM:
        return []
    memory = "out of memory? Then raise resources.pretrain.mem_mb; " if number == 9 else ""
    return [
        f"rank {rank} was killed by signal {number} ({signal.strsignal(number)}): "
        f"{memory}the same command resumes from the last checkpoint"
    ]


@contextmanager
def _forwarded_signals(process: subprocess.Popen) -> Iterator[list[int]]:
    """Forward every request to stop as the signal that `STOPPABLE` and srun understand."""
    received: list[int] = []

    def forward(number: int, _: object) -> None:
        received.append(number)
        process.send_signal(signal.SIGUSR1)

    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {n: signal.signal(n, forward) for n in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
