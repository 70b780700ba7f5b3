"""The stage on raw BOLD: it applies what `preprocess` estimated, once and in the right place."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine

from brainmass_core import timeseries
from brainmass_core.checksums import sha256_of
from brainmass_core.config import Config, parse_config
from brainmass_core.pipeline.manifest import Entry, read_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.preprocess.transform_files import save_affine, save_motion, save_normalisation
from brainmass_core.preprocess.transforms import Normalisation
from brainmass_core.spaces import FSL, ICBM_2009A
from brainmass_core.spaces.bridges import bridge
from brainmass_core.tables import PREPROCESS, SCANS, from_rows, read_table, write_table
from brainmass_core.timeseries.design import MOTION

pytestmark = pytest.mark.study

N, N_ROIS, T_R = 60, 8, 2.0
TEMPLATE = np.diag([2.0, 2, 2, 1])  # of the atlas: 16 x 16 x 16 voxels in eight blocks
BOLD = np.array([[-3.0, 0, 0, 30], [0, 3, 0, -7], [0, 0, 3, 18], [0, 0, 0, 1]])
SHAPE = (22, 20, 18)
FIELD = np.array([1.5, -2.0, 0.5])  # mm, the same everywhere
PARIETAL = (20.0, -76.0, 38.0)  # here FSL's template and nilearn's lie 5 mm apart


def rigid(x: float, y: float, z: float) -> np.ndarray:
    """A shift in mm with a quarter turn about z."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[0, -1], [1, 0]]
    matrix[:3, 3] = [x, y, z]
    return matrix


class Study:
    """One run whose parcels carry known signals, and what `preprocess` would write about it.

    The template lies in nilearn's space; the atlas, in `space`, has its first voxel at `origin`.
    """

    def __init__(
        self,
        folder: Path,
        space: str = ICBM_2009A,
        origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        self.folder, self.root, self.space = folder, folder / "results", space
        place = nib.affines.from_matvec(np.eye(3), origin)
        rng = np.random.default_rng(0)
        self.signals = rng.standard_normal((N, N_ROIS))
        labels = np.kron(np.arange(1, 9).reshape(2, 2, 2), np.ones((8, 8, 8))).astype(np.int16)
        nib.save(nib.Nifti1Image(labels, place @ TEMPLATE), folder / "blocks.nii.gz")
        affine_t1w, self.to_boldref = rigid(30, 0, 10) @ np.linalg.inv(place), rigid(12, 8, 20)
        field = np.broadcast_to(FIELD, (9, 9, 9, 3)).astype(np.float32)
        normalisation = Normalisation(affine_t1w, field, place @ np.diag([4.0, 4, 4, 1]))
        self.motion = np.tile(np.eye(4), (N, 1, 1))
        self.motion[:, :3, 3] = rng.uniform(-2, 2, (N, 3))
        self._save_bold(place @ TEMPLATE, affine_t1w)
        (self.root / "d").mkdir(parents=True)
        save_normalisation(self.root / "d/n.npz", normalisation)
        save_affine(self.root / "d/c.txt", self.to_boldref)
        save_motion(self.root / "d/m.npy", self.motion)
        mask = nib.Nifti1Image(np.ones(SHAPE, dtype=np.uint8), BOLD)
        nib.save(mask, self.root / "d/mask.nii.gz")
        self.confounds = pd.DataFrame(rng.normal(0, 0.01, (N, 6)), columns=MOTION)
        self.confounds.to_csv(self.root / "d/confounds.tsv", sep="\t", index=False)

    def _save_bold(self, atlas: np.ndarray, affine_t1w: np.ndarray) -> None:
        """Each voxel of each volume takes the signal of the template point it really shows."""
        points = apply_affine(BOLD, np.indices(SHAPE).reshape(3, -1).T)
        bold = np.empty((*SHAPE, N), dtype=np.float32)
        back = np.linalg.inv(self.to_boldref @ affine_t1w)
        for t in range(N):
            template = apply_affine(back @ np.linalg.inv(self.motion[t]), points) - FIELD
            drawn = bridge(ICBM_2009A, self.space)(template)
            voxels = np.rint(apply_affine(np.linalg.inv(atlas), drawn)).astype(int)
            # blocks are continued beyond the atlas, so that its border has no edge
            octant = (np.clip(voxels, 0, 15) // 8) @ [4, 2, 1]
            bold[..., t] = 1000 + 10 * self.signals[t, octant].reshape(SHAPE)
        image = nib.Nifti1Image(bold, BOLD)
        nib.save(image, self.folder / "bold.nii.gz")

    def config(self, **settings: object) -> Config:
        """Only the parcel means, unless `settings` say otherwise."""
        plain = {
            **{"motion": "none", "n_compcor": 0, "csf": False, "polynomial_order": 0},
            **{"low_hz": None, "high_hz": None, "resolution": 2.0},
        }
        return parse_config(
            {
                "results": str(self.root),
                "max_failed_fraction": 1.0,
                "datasets": {"lab": {"kind": "bids", "role": "internal", "path": str(self.folder)}},
                "atlas": {
                    "name": "blocks",
                    "path": str(self.folder / "blocks.nii.gz"),
                    "space": self.space,
                },
                "timeseries": plain | settings,
            }
        )

    def run(self, preprocess: dict | None = None, **settings: object) -> tuple[Entry | None, dict]:
        """Entry and row of the only scan."""
        config, paths = self.config(**settings), Paths(self.root)
        scan = {
            **{"scan_id": "lab_a", "dataset": "lab", "kind": "bids", "batch": 0, "t_r": T_R},
            "bold_path": str(self.folder / "bold.nii.gz"),
        }
        write_table(paths.scans("lab"), from_rows([scan], SCANS), "scans")
        outputs = {"normalisation": "d/n.npz", "coregistration": "d/c.txt", "motion": "d/m.npy"}
        outputs |= {"confounds": "d/confounds.tsv", "bold_mask": "d/mask.nii.gz"}
        there = {k: self.root / v for k, v in outputs.items() if (self.root / v).is_file()}
        row = {
            "sha256": [(k, sha256_of(v)) for k, v in there.items()],
            **{"scan_id": "lab_a", "status": "ok", "outputs": list(outputs.items())},
            **{"t_r": T_R, "n_volumes": N, "mean_fd": 0.2, "n_volumes_censored": 3},
            "space": ICBM_2009A,
        }
        table = from_rows([row | (preprocess or {})], PREPROCESS)
        write_table(paths.batch("preprocess", "lab", 0), table, "preprocess")
        timeseries.run(config, "lab", 0, 1)
        entries = read_manifest(paths.manifest("timeseries", "lab", 0))
        rows = read_table(paths.batch("timeseries", "lab", 0), "timeseries").to_pylist()
        return (entries[0], rows[0]) if entries else (None, {})


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def agreement(row: dict, signals: np.ndarray) -> np.ndarray:
    bold = np.array(row["bold"])
    return np.array([np.corrcoef(bold[:, i], signals[:, i])[0, 1] for i in range(N_ROIS)])


def test_every_transform_is_applied_in_its_direction(study: Study) -> None:
    entry, row = study.run()
    assert entry.status == "ok", entry.reason
    assert agreement(row, study.signals).min() > 0.985
    np.testing.assert_allclose(row["coverage"], 1)
    assert (row["atlas"], row["n_rois"], row["mean_fd"]) == ("blocks", 8, 0.2)


def test_an_atlas_of_another_space_is_reached_over_the_bridge(tmp_path: Path) -> None:
    study = Study(tmp_path, FSL, PARIETAL)
    entry, row = study.run()
    assert entry.status == "ok", entry.reason
    assert agreement(row, study.signals).min() > 0.985
    assert np.median(agreement(row, study.signals)) > 0.99
    assert row["space"] == FSL
    study.space = ICBM_2009A  # taken for the template's: where the parcels are not
    _, row = study.run()
    assert agreement(row, study.signals).min() < 0.9
    assert np.median(agreement(row, study.signals)) < 0.97


def test_a_scan_whose_space_has_no_bridge_fails(study: Study) -> None:
    entry, _ = study.run(preprocess={"space": "MNIInfant"})
    assert entry.status == "failed"
    assert "no bridge from MNI152NLin2009aSym to MNIInfant" in entry.reason


@pytest.mark.parametrize("wrong", ["c.txt", "m.npy"])
def test_a_transform_in_the_other_direction_is_noticed(study: Study, wrong: str) -> None:
    """That the test above can fail."""
    if wrong == "c.txt":
        save_affine(study.root / "d/c.txt", np.linalg.inv(study.to_boldref))
    else:
        save_motion(study.root / "d/m.npy", np.linalg.inv(study.motion))
    _, row = study.run(min_coverage=0.0, max_empty_rois=8)
    assert not agreement(row, study.signals).min() > 0.985


def test_the_volumes_that_preprocess_dropped_are_dropped_here(study: Study) -> None:
    n_dummy = 4
    save_motion(study.root / "d/m.npy", study.motion[n_dummy:])
    confounds = study.confounds[n_dummy:]
    confounds.to_csv(study.root / "d/confounds.tsv", sep="\t", index=False)
    entry, row = study.run(preprocess={"n_dummy_volumes": n_dummy, "n_volumes": N - n_dummy})
    assert entry.status == "ok", entry.reason
    assert agreement(row, study.signals[n_dummy:]).min() > 0.985


def test_scans_that_preprocess_refused_do_not_come_back(study: Study) -> None:
    entry, _ = study.run(preprocess={"status": "excluded"})
    assert entry is None


def test_parcels_outside_the_mask_exclude_by_name(study: Study) -> None:
    mask = np.ones(SHAPE, dtype=np.uint8)
    mask[: SHAPE[0] // 2] = 0
    nib.save(nib.Nifti1Image(mask, BOLD), study.root / "d/mask.nii.gz")
    entry, row = study.run(min_coverage=0.6)
    assert entry.status == "excluded"
    assert "roi-" in entry.reason
    assert row["bold"] is None
    assert min(row["coverage"]) < 0.6  # what its page draws
    assert row["mean_fd"] is not None


def test_confounds_are_regressed_out(study: Study) -> None:
    _, plain = study.run()
    confounds = study.confounds.assign(trans_x=np.array(plain["bold"])[:, 0])
    confounds.to_csv(study.root / "d/confounds.tsv", sep="\t", index=False)
    _, cleaned = study.run(motion="6")
    assert np.std(np.array(cleaned["bold"])[:, 0]) < 1e-3 * np.std(np.array(plain["bold"])[:, 0])


def test_a_run_that_changed_since_preprocess_fails(study: Study) -> None:
    image = nib.load(study.folder / "bold.nii.gz")
    nib.save(image.slicer[..., :50], study.folder / "bold.nii.gz")
    entry, _ = study.run()
    assert entry.status == "failed"
    assert "found 50 volumes, but preprocess saw 60" in entry.reason


def test_a_run_truncated_since_preprocess_fails(study: Study) -> None:
    path = study.folder / "bold.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    entry, _ = study.run()
    assert entry.status == "failed"
    assert "bold.nii.gz" in entry.reason


def test_a_missing_transform_fails(study: Study) -> None:
    (study.root / "d/m.npy").unlink()
    entry, _ = study.run()
    assert entry.status == "failed"
    assert "m.npy" in entry.reason
