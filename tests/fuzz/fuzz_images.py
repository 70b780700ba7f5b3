"""Readers of images: BOLD runs and atlases."""

from __future__ import annotations

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fuzz_nifti
import fuzz_plain as plain
import nibabel as nib
import numpy as np
from fuzz_judge import Reader, Seed

from brainmass_core.atlas import AtlasError, atlas_from_image
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.functional.bold import load_bold
from brainmass_core.scans.image import read_header

SHAPE = (3, 4, 2, 6)
EXAMPLE = Path(__file__).parents[2] / "config.yaml"


def image(
    data: np.ndarray, t_r: float = 2.0, slope: float | None = None, kind: Any = nib.Nifti1Image
) -> bytes:
    image = kind(data, np.diag([3.0, 3.0, 4.0, 1.0]))
    if data.ndim > 3:
        image.header["pixdim"][4] = t_r
    image.header.set_xyzt_units("mm", "sec")
    if slope:
        image.header.set_slope_inter(slope, 1.5)
    with TemporaryDirectory() as name:
        nib.save(image, Path(name) / "x.nii")
        return (Path(name) / "x.nii").read_bytes()


def _images() -> list[Seed]:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 1000, SHAPE).astype(np.int16)
    whole = image(data)
    return [
        Seed({"a_bold.nii": whole}, ("a_bold.nii",)),
        Seed({"a_bold.nii.gz": gzip.compress(whole, mtime=0)}, ("a_bold.nii.gz",)),
        Seed({"f_bold.nii": image(rng.standard_normal(SHAPE).astype(np.float32))}, ("f_bold.nii",)),
        Seed({"s_bold.nii": image(data, slope=0.5)}, ("s_bold.nii",)),
    ]


def _bold(folder: Path, name: str) -> Any:
    header = read_header(folder / name)
    return header, load_bold(folder / name)


def _check_bold(folder: Path, name: str, value: Any) -> str | None:
    header, bold = value
    shape, numbers = plain.image(folder / name)
    while len(shape) > 4 and 1 in shape[3:]:
        at = len(shape) - 1 - shape[::-1].index(1)
        shape = (*shape[:at], *shape[at + 1 :])
    found = bold.data.shape
    if sorted(found[:3]) != sorted(shape[:3]) or found[3:] != shape[3:]:
        return f"shape {found} of {header.shape}, the file has {shape}"
    volumes = numbers.reshape(-1, shape[3], order="F")
    mine = bold.data.reshape(-1, shape[3])
    same = np.allclose(
        np.sort(mine, 0), np.sort(volumes.astype(np.float32), 0), rtol=1e-5, atol=1e-30
    )
    return None if same else "other numbers"


def _atlases() -> list[Seed]:
    labels = np.zeros((4, 4, 4), np.int16)
    labels[1:3, 1:3, 1:3] = np.arange(1, 9).reshape(2, 2, 2)
    return [
        Seed({"atlas.nii": image(labels)}, ("atlas.nii",)),
        Seed(
            {"atlas.nii.gz": gzip.compress(image(labels.astype(np.float32)), mtime=0)},
            ("atlas.nii.gz",),
        ),
        Seed({"atlas.nii": image(labels.astype(np.uint8)[..., None])}, ("atlas.nii",)),
    ]


def _check_atlas(folder: Path, name: str, atlas: Any) -> str | None:
    _, numbers = plain.image(folder / name)
    expected = sorted(set(numbers.tolist()) - {0})
    if atlas.labels["index"].tolist() != expected:
        return f"labels {atlas.labels['index'].tolist()[:9]}, the file has {expected[:9]}"
    numbers_there = atlas.labels[["x", "y", "z"]].to_numpy(float)
    return None if np.isfinite(numbers_there).all() else "a parcel lies nowhere"


READERS = (
    Reader("nifti", _images, _bold, (ScanFailed,), {".nii": [fuzz_nifti.images]}, _check_bold),
    Reader(
        "atlas",
        _atlases,
        lambda f, n: atlas_from_image(f / n, "a", "MNI152NLin6Asym"),
        (AtlasError,),
        {".nii": [fuzz_nifti.images]},
        _check_atlas,
    ),
)
