"""The demo DAG, reduced, on a real two-node Slurm: ``--profile slurm`` from the root."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

# the run has 2700 s, a limit against hangs; its jobs may wait for those of other tests
pytestmark = [
    pytest.mark.slow,
]
ROOT = Path(__file__).parents[2]
FAST = [
    *("--slurm-init-seconds-before-status-checks", "1"),
    *("--seconds-between-status-checks", "1"),
    *("--latency-wait", "10"),
]


def reduced_demo(folder: Path) -> dict:
    """The shipped configuration with fewer and coarser scans and two training nodes."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    demo = config["datasets"]["demo"]
    demo |= {"path": str(folder / "demo"), "batches": 1, "evaluation_fraction": 0.4}
    demo["synthetic"] |= {"n_participants": 10, "n_volumes": 60, "voxel_size": 6.0}
    # voxels of 6 mm blur every boundary
    config["preprocess"] |= {"resolution": 4, "min_coregistration_sharpness": None}
    config["quality"] = {"pages": "flagged"}
    config["pretrain"] |= {"epochs": 4, "nodes": 2, "processes_per_node": 1}
    config["finetune"] = {"n_bootstrap": 200}
    small = {"cpus_per_task": 1, "mem_mb": 2500, "runtime": 60}
    stages = ("scans", "timeseries", "connectivity", "pfc", "pretrain", "finetune", "report")
    config["resources"] = dict.fromkeys(stages, small)
    config["resources"]["preprocess"] = small | {"cpus_per_task": 2, "mem_mb": 4000}
    return config


@pytest.fixture(scope="module")
def finished(slurm, tmp_path_factory):
    """The study's folder and the output of the run."""
    folder = tmp_path_factory.mktemp("slurm-dag")
    (folder / "config.yaml").write_text(yaml.safe_dump(reduced_demo(folder), sort_keys=False))
    done = subprocess.run(
        [
            *("timeout", "-s", "INT", "-k", "30", "2700"),
            *(str(Path(sys.executable).parent / "snakemake"), "--cores", "all"),
            *("--profile", "slurm", "--directory", str(folder)),
            *("--configfile", str(folder / "config.yaml"), *FAST),
        ],
        cwd=ROOT,
        env=slurm,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return folder, done.stdout + done.stderr


def test_the_dag_ends_in_a_report(finished):
    folder, _ = finished
    assert (folder / "results" / "report" / "index.html").exists()
    assert (folder / "results" / "report" / "demo_diagnosis.html").exists()


def test_every_stage_was_a_slurm_job(finished, slurm):
    _, printed = finished
    for rule in ("preprocess_batch", "finetune_task"):
        assert f"rule_{rule}" in printed or f"Rule: {rule}" in printed
    (group,) = re.findall(r"Group job series .*\n((?:(?:    .*)?\n)+)", printed)
    grouped = re.findall(r"^    rule (\w+):", group, re.MULTILINE)
    assert sorted(grouped) == ["connectivity_batch", "pfc_batch", "timeseries_batch"]
    # other tests have jobs in this Slurm; those of the run carry its name
    name = re.search(r"SLURM run ID: (\S+)", printed)[1]
    jobs = subprocess.run(
        ["sacct", "-X", "-n", "-P", f"--name={name}", "-o", "JobID,State,NNodes"],
        env=slurm,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    states = [line.split("|")[1:] for line in jobs]
    assert ["COMPLETED", "2"] in states, "the pre-training ran on two nodes"
    assert states.count(["COMPLETED", "1"]) >= 7


def test_the_two_planted_faults_are_recorded(finished):
    folder, _ = finished
    rows = [
        row
        for file in (folder / "results/manifest").glob("*/*/*.parquet")
        for row in pq.ParquetFile(file).read().to_pylist()
    ]
    assert len([r for r in rows if r["stage"] == "preprocess"]) == 10
    assert len({r["scan_id"] for r in rows if r["status"] == "failed"}) == 1
    assert {r["scan_id"] for r in rows if r["status"] == "excluded"}
