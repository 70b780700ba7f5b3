"""torchrun over the nodes of a Slurm job; without torch, because a check of a site needs it too."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass

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
TORCHRUN = (*WRAPPER, sys.executable, "-m", "torch.distributed.run", "--max-restarts=0")


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


def over_nodes(head: Head, nodes: int, each: int, cpus: int, worker: list[str]) -> list[str]:
    """The command line, as a list, of one torchrun over the nodes of a Slurm job.

    Parameters
    ----------
    head : Head
        Head of the job.
    each : int
        Processes per node.
    cpus : int
        Cores per node.
    worker : list of str
        What each process runs: arguments of Python, such as ``["-m", "package.module"]``.
    """
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
    return [*srun, *TORCHRUN, *rendezvous, *worker]


def slurm_head(nodes: int) -> Head | None:
    """The first node of the Slurm job of this process, if `nodes` is more than one.

    Uses squeue and scontrol, because Snakemake's Slurm plugin removes SLURM_JOB_NODELIST.
    """
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
