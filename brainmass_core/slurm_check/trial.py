"""A trial job of the nodes, launched as pre-training is, and what its reports show."""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainmass_core import __version__
from brainmass_core.slurm_check.judge import Finding
from brainmass_core.slurm_check.profile import Profile
from brainmass_core.slurm_check.site import Ask, SlurmError, ask

TOKEN = "token"
LOG = "job.log"
POLL_SECONDS = 2.0
MEM_MB = 1500  # torchrun and one process of torch
MINUTES = 10
LAST_LINES = 15
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL")


@dataclass(frozen=True)
class Trial:
    """What a trial job left.

    Attributes
    ----------
    reports : list of dict
        One per process that finished, see `rank.report`.
    appeared : float
        Seconds between the end of the job and the appearance of all reports here.
    waiting : str
        Why the job did not start or end in time; empty if it ended.
    log : str
        Last lines of the job's output.
    """

    n_nodes: int
    gpus: int
    token: str
    reports: list[dict[str, Any]]
    appeared: float
    waiting: str
    log: str


def run_trial(
    results: Path,
    profile: Profile,
    n_nodes: int,
    gpus: int = 0,
    minutes: float = 10,
    ask: Ask = ask,
) -> Trial:
    """Submit a job of `n_nodes` nodes, wait for it, and read its reports.

    Its files are in a folder of their own below `results`, which is removed afterwards.

    Parameters
    ----------
    gpus : int
        GPUs that each node must offer.
    minutes : float
        How long to wait for the job before it is cancelled.

    Raises
    ------
    SlurmError
        If Slurm refuses the job.
    """
    results.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".slurm-check-", dir=results.absolute()))
    try:
        token = secrets.token_hex(8)
        (folder / TOKEN).write_text(token)
        job = ask(*submission(folder, profile, n_nodes, gpus)).split(";")[0]
        waiting = _wait(job, minutes * 60, ask)
        if waiting:
            ask("scancel", job)
        began = time.monotonic()
        limit = 0 if waiting else profile.latency_wait
        while len(reports := _reports(folder)) < n_nodes and time.monotonic() - began < limit:
            time.sleep(0.1)
        log = folder / LOG
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        seconds = time.monotonic() - began
        last = "\n".join(lines[-LAST_LINES:])
        return Trial(n_nodes, gpus, token, reports, seconds, waiting, last)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def submission(folder: Path, profile: Profile, n_nodes: int, gpus: int) -> list[str]:
    """The command line, as a list, that submits the trial job."""
    command = ["sbatch", "--parsable", "--job-name=brainmass-slurm-check", f"--nodes={n_nodes}"]
    command += [f"--ntasks={n_nodes}", "--ntasks-per-node=1", "--cpus-per-task=1"]
    command += [f"--mem={MEM_MB}", f"--time={MINUTES}", f"--output={folder / LOG}"]
    command += [f"--partition={profile.partition}"] if profile.partition else []
    command += [f"--account={profile.account}"] if profile.account else []
    command += [f"--gpus-per-node={gpus}"] if gpus else []
    inside = [sys.executable, "-m", "brainmass_core.slurm_check.trial_job"]
    return [*command, "--wrap", shlex.join([*inside, str(folder), str(n_nodes)])]


def _wait(job: str, seconds: float, ask: Ask) -> str:
    """Wait until a job has ended; otherwise return its state and Slurm's reason."""
    began, state = time.monotonic(), ""
    while time.monotonic() - began < seconds:
        try:
            state = ask("squeue", "-h", "-j", job, "-o", "%T %r")
        except SlurmError:  # it is no longer known
            return ""
        if not state or state.split()[0] in ENDED:
            return ""
        time.sleep(POLL_SECONDS)
    return state or "unknown"


def _reports(folder: Path) -> list[dict[str, Any]]:
    found = []
    for file in sorted(folder.glob("rank-*.json")):
        try:
            found.append(json.loads(file.read_text()))
        except ValueError:  # not yet complete on this machine
            continue
    return sorted(found, key=lambda report: str(report["node"]))  # ranks follow their arrival


def judge_trial(trial: Trial, latency_wait: float) -> list[Finding]:
    """What a trial job shows about shared folders, environment, GPUs and rendezvous."""
    if trial.waiting:
        remedy = "run the check again when nodes are free, or with a longer --wait"
        found = f"not finished in time: {trial.waiting}; it was cancelled"
        return [Finding("failure", "trial job", found, remedy)]
    if len(trial.reports) < trial.n_nodes:
        found = f"{len(trial.reports)} of {trial.n_nodes} nodes reported within {latency_wait:g} s"
        if trial.log:
            found += f"; last lines of the job:\n{trial.log}"
        remedy = (
            "the results folder and this environment must be on a file system that all nodes "
            "share; if processes do not reach one another, set GLOO_SOCKET_IFNAME and "
            "NCCL_SOCKET_IFNAME to the nodes' network, and allow TCP ports 20000 to 39999 "
            "between nodes"
        )
        return [Finding("failure", "trial job", found, remedy)]
    return [_folder(trial), _environment(trial), _rendezvous(trial), *_gpus(trial)]


def _folder(trial: Trial) -> Finding:
    strangers = [r["node"] for r in trial.reports if r["token"] != trial.token]
    if strangers:
        found = f"{', '.join(strangers)}: another folder than here has this path"
        remedy = "choose results on a file system that all nodes share"
        return Finding("failure", "shared folder", found, remedy)
    nodes = ", ".join(r["node"] for r in trial.reports)
    found = (
        f"{nodes} read and wrote in it; files appeared here {trial.appeared:.1f} s after the job"
    )
    return Finding("ok", "shared folder", found)


def _environment(trial: Trial) -> Finding:
    other = [
        f"{r['node']}: {r['version']}, {r['python']}"
        for r in trial.reports
        if (r["version"], r["python"]) != (__version__, sys.executable)
    ]
    if other:
        found = f"{'; '.join(other)}; here: {__version__}, {sys.executable}"
        remedy = "install the project once, on a file system that all nodes share"
        return Finding("failure", "environment", found, remedy)
    return Finding("ok", "environment", f"brainmass {__version__}, {sys.executable} on all nodes")


def _rendezvous(trial: Trial) -> Finding:
    n, expected = trial.n_nodes, trial.n_nodes * (trial.n_nodes + 1) // 2
    if n == 1:
        return Finding("ok", "rendezvous", "not tried: one node")
    nodes = {r["node"] for r in trial.reports}
    sums = {r["sum"] for r in trial.reports}
    if sums != {expected} or len(nodes) != n:
        found = f"sum over nodes {sorted(sums)}, expected {expected}; nodes {sorted(nodes)}"
        return Finding("failure", "rendezvous", found, "please report this with your Slurm version")
    seconds = max(r["seconds"] for r in trial.reports)
    found = f"torchrun joined {n} processes on {', '.join(sorted(nodes))} in {seconds:.1f} s"
    return Finding("ok", "rendezvous", found)


def _gpus(trial: Trial) -> list[Finding]:
    if not trial.gpus:
        return []
    blind = [f"{r['node']}: {r['gpus']}" for r in trial.reports if r["gpus"] < trial.gpus]
    if blind:
        found = f"torch sees fewer than {trial.gpus} GPUs ({', '.join(blind)})"
        builds = {r["torch"] for r in trial.reports}
        remedy = (
            f"install a build of torch for your GPUs' driver; found {', '.join(sorted(builds))}"
        )
        return [Finding("failure", "GPUs", found, remedy)]
    return [Finding("ok", "GPUs", f"torch sees {trial.gpus} on each node")]
