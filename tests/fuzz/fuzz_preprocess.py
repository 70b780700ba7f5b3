"""Readers of inputs and results of preprocessing: T1w, fieldmaps, masks, transforms."""

from __future__ import annotations

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fuzz_binary
import fuzz_nifti
import fuzz_plain as plain
import fuzz_text
import numpy as np
from fuzz_bytes import Change
from fuzz_images import image
from fuzz_judge import Reader, Seed

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.anatomical.t1w import read_t1w
from brainmass_core.preprocess.distortion.fieldmap import read_volume
from brainmass_core.preprocess.transform_files import (
    load_transforms,
    save_affine,
    save_distortion,
    save_motion,
    save_normalisation,
)
from brainmass_core.preprocess.transforms import Distortion, Normalisation
from brainmass_core.timeseries.extract import read_mask

SIDES = (8, 9, 10)
OUTPUTS = {"normalisation": "n.npz", "coregistration": "c.txt", "motion": "m.npy"}
OUTPUTS |= {"distortion": "d.npz"}


def _heads(*shape: int) -> list[Seed]:
    data = np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)
    return [
        Seed({"h.nii": image(data)}, ("h.nii",)),
        Seed({"h.nii.gz": gzip.compress(image(data.astype("f4")), mtime=0)}, ("h.nii.gz",)),
    ]


def _check_volume(folder: Path, name: str, volume: Any) -> str | None:
    shape, numbers = plain.image(folder / name)
    with np.errstate(all="ignore"):
        data = numbers.astype(np.float32).reshape(shape, order="F")
        data = np.where(np.isfinite(data), data, 0)
        data = data.mean(axis=3) if data.ndim == 4 else data
    if data.shape != volume.data.shape:
        return f"shape {volume.data.shape}, the file has {data.shape}"
    return None if np.allclose(data, volume.data, rtol=1e-5, atol=1e-30) else "other numbers"


def _masks() -> list[Seed]:
    data = (np.random.default_rng(0).random(SIDES) > 0.5).astype(np.uint8)
    return [
        Seed({"m.nii": image(data)}, ("m.nii",)),
        Seed({"m.nii.gz": gzip.compress(image(data), mtime=0)}, ("m.nii.gz",)),
    ]


def _check_mask(folder: Path, name: str, mask: np.ndarray) -> str | None:
    shape, numbers = plain.image(folder / name)
    if sorted(shape[:3]) != sorted(mask.shape) or mask.sum() != (numbers > 0).sum():
        return f"{mask.sum()} voxels of {mask.shape}, the file has {(numbers > 0).sum()}"
    return None


def _transforms() -> list[Seed]:
    rng = np.random.default_rng(0)
    field = rng.standard_normal((3, 4, 2, 3)).astype(np.float32)
    motion = np.tile(np.eye(4), (5, 1, 1))
    motion[:, :3, 3] = rng.standard_normal((5, 3))
    with TemporaryDirectory() as name:
        folder = Path(name)
        save_normalisation(folder / "n.npz", Normalisation(np.eye(4), field, np.eye(4)))
        save_distortion(folder / "d.npz", Distortion(field[..., 0], np.eye(4), np.eye(3)[1]))
        save_affine(folder / "c.txt", motion[0])
        save_motion(folder / "m.npy", motion)
        files = {n: (folder / n).read_bytes() for n in OUTPUTS.values()}
    return [Seed(files, tuple(files))]


def _check_transforms(folder: Path, _: str, found: Any) -> str | None:
    warp, shift = found.normalisation, found.distortion
    matrices = [warp.affine, warp.field_affine, found.t1w_to_boldref, shift.affine, *found.motion]
    if any(m.shape != (4, 4) or not np.isfinite(m).all() for m in matrices):
        return "a matrix that leads nowhere"
    if warp.field.ndim != 4 or warp.field.shape[3] != 3 or shift.displacement.ndim != 3:
        return f"fields of shape {warp.field.shape} and {shift.displacement.shape}"
    if shift.direction.shape != (3,) or not np.isfinite(shift.displacement).all():
        return "a displacement that leads nowhere"
    with np.load(folder / "n.npz") as file:
        steps = file["field_steps"]
    for axis in (3, 2, 1):
        steps = np.cumsum(steps, axis, dtype=np.int16)
    same = np.array_equal(found.motion, np.load(folder / "m.npy"))
    same &= np.allclose(warp.field, np.moveaxis(steps, 0, -1) * 0.01, atol=1e-4)
    numbers = [float(t) for t in (folder / "c.txt").read_text().split()]
    same &= np.array_equal(found.t1w_to_boldref.ravel(), numbers)
    return None if same else "other numbers"


NII = {".nii": [fuzz_nifti.images]}
ARRAYS: dict[str, list[Change]] = {
    ".npz": [fuzz_binary.members(fuzz_binary.npy)],
    ".npy": [fuzz_binary.npy],
}
READERS = (
    Reader(
        "t1w",
        lambda: _heads(*SIDES),
        lambda f, n: read_t1w(f / n),
        (ScanFailed,),
        NII,
        _check_volume,
    ),
    Reader(
        "fieldmap",
        lambda: [*_heads(3, 4, 2), *_heads(3, 4, 2, 3)],
        lambda f, n: read_volume(f / n),
        (ScanFailed,),
        NII,
        _check_volume,
    ),
    Reader(
        "mask",
        _masks,
        lambda f, n: read_mask(f / n, SIDES, np.diag([3.0, 3, 4, 1])),
        (ScanFailed,),
        NII,
        _check_mask,
    ),
    Reader(
        "transforms",
        _transforms,
        lambda f, _: load_transforms(f, OUTPUTS),
        (ScanFailed,),
        ARRAYS | {".txt": [fuzz_text.table]},
        _check_transforms,
    ),
)
