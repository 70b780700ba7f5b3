"""An image is read as nibabel reads it, or refused with its name and what to do."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmass_core.readers.files import FileError, check_whole
from brainmass_core.readers.image import has_place, read_image

VALUES = np.random.default_rng(0).integers(-500, 500, (3, 4, 2)).astype(np.int16)
AFFINE = np.array([[0, -2.0, 0, 5], [3, 0, 0, -7], [0, 0, 4, 1], [0, 0, 0, 1]])


def save(path: Path, values: np.ndarray = VALUES, kind: type = nib.Nifti1Image) -> Path:
    nib.save(kind(values, AFFINE), path)
    return path


def patched(path: Path, offset: int, form: str, *values: float) -> Path:
    """The same file with other numbers in its header."""
    raw = bytearray(path.read_bytes())
    struct.pack_into(f"<{form}", raw, offset, *values)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.mgz", "x.img"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_voxels_and_affine_are_those_that_were_written(tmp_path, name, dtype):
    kind = {".mgz": nib.MGHImage, ".img": nib.Nifti1Pair}.get(Path(name).suffix, nib.Nifti1Image)
    values = np.abs(VALUES // 4).astype(dtype)
    found = read_image(save(tmp_path / name, values, kind))
    np.testing.assert_array_equal(found.data, values)
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-6)


def test_scale_factors_are_applied(tmp_path):
    found = read_image(patched(save(tmp_path / "x.nii"), 112, "ff", 0.5, 3.0))
    np.testing.assert_allclose(found.data, VALUES * 0.5 + 3)


@pytest.mark.parametrize(
    ("offset", "form", "values", "said"),
    [
        (40, "4h", (3, 3, 0, 2), "expected real numbers"),
        (40, "h", (2,), "found 2 dimensions, expected a grid"),
        (42, "h", (30000,), "its header gives"),
        (44, "h", (2,), "its header gives 376 bytes, but it contains at least"),
        (70, "hh", (32, 64), "voxels of type complex64"),
        (108, "f", (float("inf"),), "unreadable NIfTI header"),
        (108, "f", (0.0,), "voxels begin at byte 0, expected 352"),
        (280, "4f", (float("nan"),) * 4, "which gives voxels no size or no direction"),
        (280, "12f", (1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0), "no size or no direction"),
    ],
)
def test_a_damaged_header_is_refused_by_name(tmp_path, offset, form, values, said):
    path = patched(save(tmp_path / "x.nii"), offset, form, *values)
    with pytest.raises(FileError, match=r"x\.nii") as caught:
        read_image(path)
    assert said in str(caught.value)


@pytest.mark.parametrize("where", [-5, -1, 30, 100])
@pytest.mark.parametrize(("name", "kind"), [("x.nii.gz", nib.Nifti1Image), ("x.mgz", nib.MGHImage)])
def test_damage_to_a_compressed_image_is_found(tmp_path, where, name, kind):
    path = save(tmp_path / name, kind=kind)
    raw = bytearray(path.read_bytes())
    raw[where] ^= 0x40
    path.write_bytes(raw)
    with pytest.raises(FileError, match=name):
        read_image(path)


def test_only_a_compressed_file_has_a_checksum(tmp_path):
    check_whole(save(tmp_path / "x.nii"))
    check_whole(save(tmp_path / "x.nii.gz"))
    content = gzip.compress(bytes(2**21))
    (tmp_path / "x.gz").write_bytes(content[:-8] + bytes(8))
    with pytest.raises(FileError, match="truncated or damaged"):
        check_whole(tmp_path / "x.gz")


def test_surfaces_are_no_grid(tmp_path):
    image = nib.GiftiImage(darrays=[nib.gifti.GiftiDataArray(np.zeros(5, "f4"))])
    nib.save(image, tmp_path / "x.gii")
    with pytest.raises(FileError, match="found GIFTI, expected a grid of voxels"):
        read_image(tmp_path / "x.gii")


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (AFFINE, True),
        (np.diag([-2.0, 3, 1e-2, 1]), True),
        (np.diag([2.0, 3, 0, 1]), False),
        (np.diag([2.0, np.inf, 1, 1]), False),
        (np.array([[3.0, 0, 0, 0], [1e38, 3, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]]), False),
    ],
)
def test_an_affine_gives_each_axis_a_length_and_a_direction(affine, expected):
    assert has_place(affine) == expected
    if expected:
        assert len(nib.aff2axcodes(affine)) == 3
