"""A real head: raw BIDS with an oblique past, T1w and BOLD 40 mm apart, to Schaefer-100 FC.

The variants are the same head otherwise written: they must come to the same end, or be refused.
"""

import gzip
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
import study

from brainmass_core.atlas import resolve_atlas
from brainmass_core.config import load_config
from brainmass_core.connectivity import unvectorise

# two heads at full resolution take ten minutes and more beside other work
pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared,
]

PRESETS = ("cpac-default", "abide-pcp-filt-noglobal", "fmriprep-like", "minimal")
BOLD = "func/{}_task-oneback_{}_bold.nii.gz"
T1W = "anat/{}_T1w.nii.gz"


def write_variants(source: Path, folder: Path) -> None:
    """The head as it is, cut short, the same turned and flipped, with a header that contradicts."""
    folder.mkdir()
    shutil.copy(source / "dataset_description.json", folder)
    file = source / "sub-02" / BOLD.format("sub-02", "run-1")
    bold = nib.load(file)
    t1w = nib.load(source / "sub-02" / T1W.format("sub-02"))
    head = json.loads(file.with_suffix("").with_suffix(".json").read_text())
    write_participant(folder, "sub-02", bold, t1w, head)
    # a second run of the participant: the T1w is registered once for both
    short = bold.slicer[..., :78]
    write_run(folder, "sub-02", short, head, "run-2")
    write_participant(folder, "sub-turned", turned(short, "PSL"), turned(t1w, "IRP"), head)
    write_participant(folder, "sub-header", bold, t1w, head | {"RepetitionTime": 1.79355})


def turned(image: nib.Nifti1Image, axes: str) -> nib.Nifti1Image:
    """The image stored with other axes; every voxel stays at its place in space."""
    change = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    )
    return image.as_reoriented(change)


def write_participant(folder: Path, name: str, bold, t1w, sidecar: dict) -> None:
    write_image(folder / name / T1W.format(name), t1w)
    write_run(folder, name, bold, sidecar)


def write_run(folder: Path, name: str, bold, sidecar: dict, run: str = "run-1") -> None:
    file = folder / name / BOLD.format(name, run)
    write_image(file, bold)
    file.with_suffix("").with_suffix(".json").write_text(json.dumps(sidecar))


def write_image(file: Path, image) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(image.to_bytes(), 1))


def studyforrest_config(shared: Path, bids: Path) -> dict:
    schaefer = "Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm.nii.gz"
    return {
        "datasets": {"forrest": {"kind": "bids", "role": "pretrain", "path": str(bids)}},
        "atlas": {"path": str(shared / "atlas_schaefer100" / schaefer), "space": "FSLMNI152"},
        "preprocess": {
            "template": str(shared / "templates_mni" / "MNI152_T1_2mm.nii.gz"),
            "template_mask": str(shared / "templates_mni" / "MNI152_T1_2mm_brain_mask.nii.gz"),
        },
    }


@pytest.fixture(scope="module")
def forrest(shared_data, tmp_path_factory):
    """Folder of the study, all variants preprocessed and parcellated by the default preset."""
    folder = tmp_path_factory.mktemp("forrest")
    write_variants(shared_data / "bids_studyforrest_sub02", folder / "bids")
    study.write_config(folder, studyforrest_config(shared_data, folder / "bids"))
    run(folder)
    return folder


@pytest.fixture(scope="module")
def default(forrest):
    """Folder with the tables of the default preset; the tests of presets change those of the study.

    They ask for it too, so that it is copied before.
    """
    folder = forrest / "tables-of-default"  # Snakemake takes a folder `default` for a profile
    for file in (forrest / "results").glob("*/forrest/0.parquet"):
        copied = folder / file.relative_to(forrest)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copied)
    return folder


def run(folder: Path, *more: str) -> None:
    done = study.snakemake(folder, "--cores", "2", "connectivity", *more, timeout=2900)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]


def rows(folder: Path, stage: str) -> dict[str, dict]:
    """Rows of a stage's table, by participant; the short run is a second of ``sub-02``."""
    table = pq.ParquetFile(folder / f"results/{stage}/forrest/0.parquet").read().to_pylist()
    names = (row["scan_id"].removeprefix("forrest_").split("_") for row in table)
    return {
        "short" if name[-1] == "run-2" else name[0]: row
        for name, row in zip(names, table, strict=True)
    }


def within_minus_between(fc: np.ndarray, networks: np.ndarray) -> float:
    """Mean FC within networks minus between them."""
    edges = np.triu_indices(len(fc), 1)
    same = networks[edges[0]] == networks[edges[1]]
    return float(fc[edges][same].mean() - fc[edges][~same].mean())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_gives_a_brain_that_looks_like_one(preset, forrest, default):
    raw = load_config(forrest / "config.yaml").model_dump(mode="json", include={"results"})
    assert raw["results"] == "results"
    before = rows(default, "preprocess")["sub-02"]["sha256"]
    run(forrest, "--config", f'presets=["timeseries/{preset}"]')
    assert rows(forrest, "preprocess")["sub-02"]["sha256"] == before, "registered again"
    series = rows(forrest, "timeseries")["sub-02"]
    assert series["denoise"] == preset
    assert series["n_empty_rois"] == 0
    assert np.asarray(series["bold"]).shape == (156 - dummies(forrest), 100)
    assert series["residual_dof"] > 10
    coverage = np.asarray(series["coverage"])
    assert coverage.min() > 0.1, "orbitofrontal signal is lost in part, never whole"
    assert np.median(coverage) > 0.9
    atlas = resolve_atlas(load_config(forrest / "config.yaml"), allow_approximate=False)
    networks = atlas.labels["network"].to_numpy()
    fc = unvectorise(np.asarray(rows(forrest, "connectivity")["sub-02"]["fc"]))
    margin = within_minus_between(fc, networks)
    rng = np.random.default_rng(0)
    shuffled = [within_minus_between(fc, rng.permutation(networks)) for _ in range(1000)]
    assert margin > 0.1
    assert margin > 5 * np.std(shuffled) + np.mean(shuffled)


def dummies(folder: Path) -> int:
    """Volumes that were dropped as not yet steady."""
    return int(rows(folder, "preprocess")["sub-02"]["n_dummy_volumes"])


def test_the_default_stays_within_three_core_minutes_of_memory_for_a_laptop(default):
    row = rows(default, "preprocess")["sub-02"]
    seconds, peaks = dict(row["seconds_per_step"]), dict(row["peak_rss_per_step"])
    print({step: (round(seconds[step], 1), round(peaks[step])) for step in seconds})
    assert max(peaks.values()) < 3 * 1024


def test_axes_of_the_file_do_not_matter(default):
    series = rows(default, "timeseries")
    straight, turned_ = (np.asarray(series[s]["bold"]) for s in ("short", "sub-turned"))
    same = np.array([np.corrcoef(straight[:, i], turned_[:, i])[0, 1] for i in range(100)])
    assert same.min() > 0.99


def test_half_a_run_is_enough_and_resembles_the_whole(default):
    assert rows(default, "preprocess")["short"]["n_volumes"] == 78 - dummies(default)
    found = rows(default, "connectivity")
    whole, half = (np.asarray(found[s]["fc"]) for s in ("sub-02", "short"))
    assert np.corrcoef(whole, half)[0, 1] > 0.5


def test_a_header_that_contradicts_the_sidecar_is_refused(forrest):
    scans = pq.ParquetFile(forrest / "results/scans/forrest.parquet").read().to_pylist()
    reason = {r["participant_id"]: r["excluded_reason"] for r in scans}["sub-header"]
    assert "contradictory t_r" in reason
    assert "1.79355" in reason
    assert "sub-header" not in rows(forrest, "preprocess")
