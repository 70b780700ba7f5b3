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
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from brainmass_core.config import Config
from brainmass_core.pretrain.artefacts import publish
from brainmass_core.pretrain.data.tested_people import refuse_tested_people
from brainmass_core.pretrain.data.views import index_shards
from brainmass_core.pretrain.loop.checkpoint import Checkpoints
from brainmass_core.pretrain.loop.train import build_model
from brainmass_core.pretrain.model_specs import model_spec_of

log = logging.getLogger(__name__)
# Wrapper of torchrun: it converts SIGUSR1 to the SIGTERM with which torchrun stops its workers.
# SIGUSR1 would kill torchrun itself; and srun passes SIGUSR1 on, but after SIGTERM it kills
# processes that have not ended within seconds. A signal ends `wait` before torchrun has ended.
STOPPABLE = """trap "" USR1
"$@" &
torchrun=$!
trap 'kill -TERM $torchrun 2>/dev/null' USR1 TERM INT
until wait $torchrun; status=$?; ! kill -0 $torchrun 2>/dev/null; do :; done
exit $status"""
WRAPPER = ("sh", "-c", STOPPABLE, "sh")
LAST_LINES = 25
ERROR_MARK = "error: "  # prefix of a worker's own message in the output of torchrun
# lines in torchrun's report of a failed process
RANK_LINE = re.compile(r"\brank\s*: (\d+) \(local_rank: ")
SIGNAL_LINE = re.compile(r"\bexitcode\s*: -(\d+) \(pid: ")


class LaunchError(ValueError):
    """Training ended without a result."""


@dataclass(frozen=True)
class Head:
    """The first node of a Slurm job, the rendezvous of all ranks."""

    job: str
    address: str

    @property
    def port(self) -> int:
        """A port that differs between jobs on the same machine."""
        return 20000 + int(self.job) % 20000


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
        head = slurm_head(config)
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
    torchrun = [*WRAPPER, sys.executable, "-m", "torch.distributed.run", "--max-restarts=0"]
    worker = [
        "-m",
        "brainmass_core.pretrain.launch.worker",
        "--config",
        str(config_path.absolute()),
    ]
    worker += ["--fingerprint", fingerprint]
    if head is None:
        return [*torchrun, "--standalone", f"--nproc-per-node={nodes * each}", *worker]
    cpus = config.stage_resources("pretrain").cpus_per_task
    # --overlap: the job step that runs this command already holds the CPUs
    srun = ["srun", "-N", str(nodes), "-n", str(nodes), "--ntasks-per-node=1", "-c", str(cpus)]
    srun += ["--overlap", "--kill-on-bad-exit=1"]
    rendezvous = [
        f"--nnodes={nodes}",
        f"--nproc-per-node={each}",
        "--rdzv-backend=c10d",
        f"--rdzv-id={head.job}",
        f"--rdzv-endpoint={head.address}:{head.port}",
    ]
    return [*srun, *torchrun, *rendezvous, *worker]


def slurm_head(config: Config) -> Head | None:
    """The first node of the Slurm job of this process, if several nodes are configured.

    Uses squeue and scontrol, because Snakemake's Slurm plugin removes SLURM_JOB_NODELIST.
    """
    nodes = config.pretrain.nodes
    if nodes == 1:
        return None
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        log.warning(
            "pretrain.nodes is %d, but this is not a Slurm job: all processes run here", nodes
        )
        return None
    names = _ask("scontrol", "show", "hostnames", _ask("squeue", "-h", "-j", job, "-o", "%N"))
    hosts = names.split()
    if len(hosts) < nodes:
        log.warning(
            "pretrain.nodes is %d, but Slurm job %s has %s: all processes run here",
            *(nodes, job, names.replace("\n", " ") or "no node"),
        )
        return None
    found = re.search(r"\bNodeAddr=(\S+)", _ask("scontrol", "-o", "show", "node", hosts[0]))
    return Head(job, found.group(1) if found else hosts[0])


def _ask(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip()
        raise LaunchError(
            f"{' '.join(command)}: {reason}; is Slurm reachable from this job?"
        ) from None
    return answer.stdout.strip()


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
