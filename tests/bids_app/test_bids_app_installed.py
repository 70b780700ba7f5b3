"""A wheel in a folder of its own, without the checkout: from raw BIDS to series, FC and pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import pyarrow.parquet as pq
import pytest
import yaml

from brainmass_core.atlas import VORONOI, voronoi_image
from brainmass_core.atlas.schaefer import VORONOI_SPACE
from brainmass_core.config.inputs import Synthetic
from brainmass_core.demo import write_demo

pytestmark = pytest.mark.slow

SOURCES = ("brainmass_core", "workflow", "rules", "slurm", "envs")
SOURCES += ("config.yaml", "pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in")


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """A wheel, built from a copy, because the build leaves files in the folder of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source, target = root / name, folder / "sources" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(folder / "sources")], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Folder of an installation that nobody may write to."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--target", str(folder), str(wheel)], check=True)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def run(installed: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess:
    """The installed command; the checkout is not on Python's path."""
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, str(installed / "bin" / "brainmass"), *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_the_wheel_has_every_file_of_the_workflow(root, wheel):
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "workflow", "rules", "slurm", "envs", "config.yaml"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(listed) > 30
    with zipfile.ZipFile(wheel) as archive:
        for name in listed:
            packed = archive.read(f"brainmass_core/_workflow/{name}")
            assert packed == (root / name).read_bytes(), name


def test_an_installation_makes_series_fc_and_pages_in_an_empty_folder(installed, tmp_path):
    data, empty = tmp_path / "data", tmp_path / "empty"
    write_demo(data, Synthetic(n_participants=4, n_volumes=60, voxel_size=6.0))
    empty.mkdir()
    atlas = tmp_path / f"tpl-{VORONOI_SPACE}_atlas-{VORONOI.replace('-', '')}_dseg.nii.gz"
    nib.save(voronoi_image(), atlas)
    coarse = {"registration": "syn_fast", "resolution": 4, "max_mean_fd": None}
    coarse |= {"min_coregistration_sharpness": None}  # voxels of 6 mm blur every boundary
    extra = tmp_path / "coarse.yaml"
    extra.write_text(yaml.safe_dump({"preprocess": coarse}))
    before = files(installed)
    words = ["run", "../data", "../out", "participant", "--participant_label", "sub-01"]
    words += [
        "--atlas",
        str(atlas),
        "--config",
        str(extra),
        "--n-procs",
        "2",
        "--denoise",
        "minimal",
    ]
    done = run(installed, empty, *words)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    out = tmp_path / "out"
    for stage in ("timeseries", "connectivity"):
        table = pq.ParquetFile(out / stage / "bids" / "0.parquet").read()
        assert table["scan_id"].to_pylist() == ["bids_sub-01_task-rest"], stage
    assert str(Path("../out/quality/bids/index.html")) in done.stdout
    assert len(list((out / "quality" / "bids" / "scans").glob("*.html"))) == 1
    assert not (out / "pretrain").exists()
    assert (out / "work" / ".snakemake").is_dir()
    assert not list(empty.iterdir())
    assert files(installed) == before
    # nothing is left to do, and other participants are added
    again = run(installed, empty, *words, "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
    words[5:6] = ["sub-02", "03"]
    run(installed, empty, *words, "--dry-run")
    config = yaml.safe_load((out / "brainmass.yaml").read_text())
    assert config["datasets"]["bids"]["participants"] == ["01", "02", "03"]


def test_a_run_that_fails_has_a_status(installed, tmp_path):
    write_demo(tmp_path / "data", Synthetic(n_participants=4, n_volumes=40, voxel_size=6.0))
    (tmp_path / "data" / "participants.tsv").write_text("participant_id\tage\nsub-01\n")
    extra = tmp_path / "extra.yaml"
    extra.write_text("datasets: {bids: {phenotype: {age_column: years}}}\n")
    words = ["run", "data", "out", "participant", "--config", "extra.yaml"]
    done = run(installed, tmp_path, *words, "--skip-bids-validation")
    assert done.returncode != 0
    assert "participants.tsv" in (tmp_path / "out" / "logs" / "scans" / "bids.log").read_text()
