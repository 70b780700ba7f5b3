"""A real Slurm of two nodes on this machine, for the tests in this folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

SCRIPT = Path(__file__).parent / "slurm_up.sh"
# per node; two jobs of default size fit, and no job of the default configuration is refused
KNOBS = {"SLURM_NODES": "2", "SLURM_CPUS": "2", "SLURM_MEM_MB": "9000", "SLURM_DBD": "1"}


def _script(command: str, timeout: float = 900) -> subprocess.CompletedProcess:
    environment = {**os.environ, **KNOBS}
    return subprocess.run(
        ["bash", str(SCRIPT), command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def _unavailable(reason: str) -> None:
    """Skip visibly; fail in CI, where Slurm is required."""
    if os.environ.get("BRAINMASS_REQUIRE_SLURM") == "1":
        pytest.fail(f"BRAINMASS_REQUIRE_SLURM=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def slurm(built_once) -> Iterator[dict[str, str]]:
    """Environment in which `sbatch`, `srun`, `sacct` and Snakemake's plugin reach the cluster.

    Started by the first worker of pytest that needs it. The last one stops it, unless it was
    running before or `BRAINMASS_KEEP_SLURM` is set.
    """
    if os.geteuid() != 0:
        _unavailable("a Slurm fixture needs root, to install and start its daemons")
    file = Path(_script("env").stdout.strip())
    users = built_once("slurm-users", Path.mkdir)
    me = users / str(os.getpid())
    with FileLock(users / ".lock"):
        if not any(users.glob("[0-9]*")) and not file.exists():
            (users / "ours").touch()
        up = _script("up")
        if up.returncode:
            _unavailable(f"Slurm did not come up: {up.stderr.strip()[-1500:]}")
        me.touch()
    yield _environment(file)
    with FileLock(users / ".lock"):
        me.unlink()
        ours = (users / "ours").exists() and not os.environ.get("BRAINMASS_KEEP_SLURM")
        if ours and not any(users.glob("[0-9]*")):
            _script("down")


@pytest.fixture
def accounts(slurm: dict[str, str]) -> Callable[..., list[str]]:
    """Lines of ``sacct`` for one job, asked for again until its accounts are closed.

    A job that has left the queue may stay RUNNING in the database for a while, since Slurm sends
    the end of a job there afterwards.
    """

    def ask(job: str, fields: str, *options: str, seconds: float = 600) -> list[str]:
        command = ["sacct", "-n", "-P", "-j", job, *options, "-o", f"State,{fields}"]
        deadline = time.monotonic() + seconds  # ends a hang, and says nothing else
        while True:
            found = subprocess.run(command, env=slurm, capture_output=True, text=True, check=True)
            lines = found.stdout.splitlines()
            if lines and not any(line.startswith(("PENDING", "RUNNING")) for line in lines):
                return lines
            assert time.monotonic() < deadline, f"accounts never closed: {found.stdout}"
            time.sleep(0.2)

    return ask


def _environment(file: Path) -> dict[str, str]:
    """This process's environment with the cluster's, and this interpreter's commands first."""
    script = f"set -a; source '{file}'; env -0"
    found = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    pairs = (entry.partition("=") for entry in found.decode().split("\0") if entry)
    environment = {name: value for name, _, value in pairs if not name.startswith("BASH_FUNC")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return environment | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
