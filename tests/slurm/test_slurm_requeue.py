"""A pre-training job near its time limit saves, requeues itself and resumes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from test_slurm_launch import moved, write_study

from brainmass_core.pipeline.paths import Paths

pytestmark = pytest.mark.slow
EPOCHS = 150


def wait_until(holds: Callable[[], object], what: str, seconds: float = 1200) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)


@pytest.mark.nightly
def test_a_job_near_its_time_limit_saves_queues_itself_again_and_ends_with_the_same_bytes(
    tmp_path: Path, root: Path, slurm: dict[str, str], accounts: Callable[..., list[str]]
) -> None:
    study = write_study(tmp_path)
    raw = yaml.safe_load(study.read_text())
    raw["pretrain"] |= {"epochs": EPOCHS, "checkpoint_steps": 10}
    study.write_text(yaml.safe_dump(raw))
    (tmp_path / "one").mkdir()
    uninterrupted = moved(study, tmp_path / "one")

    def ask(*command: str) -> str:
        found = subprocess.run(command, env=slurm, capture_output=True, text=True, timeout=3000)
        # squeue refuses a job that it has forgotten; any other refusal is no answer
        assert not found.returncode or "Invalid job id" in found.stderr, found.stderr
        return found.stdout.strip()

    log = tmp_path / "job.log"
    sbatch = ["sbatch", "--parsable", "-N", "2", "-c", "1", "--mem=1500", "--time=60"]
    job = ask(*sbatch, f"--output={log}", str(root / "slurm" / "pretrain.sbatch"), str(study))
    work = tmp_path / "results" / "work" / "pretrain"
    wait_until(lambda: list(work.rglob("step-*.pt")), "a checkpoint")
    # the signal that Slurm sends before the limit, without waiting for minutes
    ask("scancel", "--batch", "--signal=USR1", job)
    wait_until(lambda: "PENDING" in ask("squeue", "-h", "-j", job, "-o", "%T"), "the queue")
    printed = log.read_text()
    assert f"of {EPOCHS * 2}; the state is saved" in printed
    # a job that was queued again waits for two minutes; one that starts in the second in which its
    # predecessor ended is refused, since Slurm revokes credentials by the second
    ask("scontrol", "update", f"JobId={job}", "StartTime=now+5")
    model = Paths(tmp_path / "results").pretrain("brainmass") / "model.safetensors"
    wait_until(model.exists, "the model")
    assert "resuming after step" in log.read_text()
    wait_until(lambda: not ask("squeue", "-h", "-j", job, "-o", "%T"), "the end of the job")
    assert accounts(job, "JobID", "-X") == [f"COMPLETED|{job}"]

    command = [sys.executable, "-m", "brainmass_core.cli", "pretrain", "--config"]
    subprocess.run([*command, str(uninterrupted)], env=slurm, check=True, timeout=3000)
    other = Paths(tmp_path / "one" / "results").pretrain("brainmass")
    for name in ("model.safetensors", "history.parquet"):
        assert (model.parent / name).read_bytes() == (other / name).read_bytes()
