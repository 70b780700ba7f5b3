"""One damaged file excludes one scan, never the data set."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.readers.series import SeriesError, read_series, series_shapes
from brainmass_core.scans.image import Header, read_header
from brainmass_core.scans.index import File, Sidecars
from brainmass_core.scans.repetition_time import choose_t_r

X = np.arange(5.0, 17.0).reshape(4, 3)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def claiming(shape: str) -> bytes:
    """An array file whose header says another shape than it holds."""
    content = npy(X)
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (len(content) - X.nbytes - 10 - len(header) - 1) + b"\n"
    return content[:8] + struct.pack("<H", len(header)) + header + content[-X.nbytes :]


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


class Attack:
    def __reduce__(self):
        return os.system, ("touch /tmp/brainmass-was-attacked",)


CLAIMS = ["(3, 3)", "(4, 4)", "(1000000000, 1000000000)", "(2**62, 1)", "(-4, -3)", "(4.0, 3)"]


@pytest.mark.parametrize("shape", CLAIMS)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_header_that_claims_another_size_is_refused(tmp_path, shape, suffix):
    path = tmp_path / f"x.{suffix}"
    if suffix == "npy":
        path.write_bytes(claiming(shape))
    else:
        zipped(path, a=claiming(shape))
    with pytest.raises(SeriesError, match=rf"x\.{suffix}"):
        read_series(path)
    if suffix == "npy":
        with pytest.raises(SeriesError, match=r"x\.npy"):
            series_shapes(path)
    else:
        assert isinstance(series_shapes(path)["a"], SeriesError)


def test_a_zip_with_one_bad_member_costs_that_member(tmp_path):
    path = zipped(tmp_path / "x.npz", a=npy(X), b=npy(X + 1))
    content = bytearray(path.read_bytes())
    content[0] ^= 1  # the first byte of the first member's header
    path.write_bytes(content)
    shapes = series_shapes(path)
    assert isinstance(shapes["a"], SeriesError)
    assert shapes["b"] == (4, 3)
    assert (read_series(path, "b") == X + 1).all()
    with pytest.raises(SeriesError, match=r"x\.npz: cannot be read"):
        read_series(path, "a")


@pytest.mark.parametrize("suffix", [".npz", ".csv.gz"])
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    if suffix == ".npz":
        zipped(path, a=npy(X))
    else:
        path.write_bytes(gzip.compress(b"\n".join(b",".join(b"%d" % v for v in r) for r in X)))
    whole = path.read_bytes()
    refused = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        try:
            assert (read_series(path) == X).all(), at
        except SeriesError:
            refused += 1
    assert refused > len(whole) // 3


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tsv", ".1D.gz"])
def test_a_file_cut_anywhere_is_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    content = {
        ".npy": npy(X),
        ".npz": zipped(tmp_path / "whole.npz", a=npy(X)).read_bytes(),
        ".tsv": b"1\t2\n3\t4\n5\t",
        ".1D.gz": gzip.compress(b"1 2\n3 4\n"),
    }[suffix]
    for i in range(16) if suffix != ".tsv" else (0, 16):
        path.write_bytes(content[: i * len(content) // 16])
        with pytest.raises(SeriesError, match="x"):
            read_series(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tsv", ".1D.gz"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "circle"])
def test_what_is_no_file_is_no_series(tmp_path, suffix, kind):
    path = tmp_path / f"x{suffix}"
    make = {
        "pipe": os.mkfifo,
        "device": lambda p: os.symlink("/dev/zero", p),
        "folder": os.mkdir,
        "circle": lambda p: os.symlink(p, p),
    }
    make[kind](path)
    for read in (read_series, series_shapes):
        with pytest.raises(SeriesError, match=r"x\."):
            read(path)


def test_a_small_file_that_expands_to_millions_of_lines_is_refused(tmp_path):
    path = tmp_path / "x.txt.gz"
    path.write_bytes(gzip.compress(b"\n" * 2_000_000 + b"0\n" * 2_000_000))
    for read in (read_series, series_shapes):
        with pytest.raises(SeriesError, match="1,000,000 lines"):
            read(path)


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"1 2\n3 4\n"), pickle.dumps(X), b"PK\x03\x04"],
    ids=["gzip", "pickle", "zip"],
)
def test_another_format_under_a_known_name_is_refused(tmp_path, content):
    for suffix in (".1D.gz", ".npy", ".npz"):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(gzip.compress(content) if suffix == ".1D.gz" else content)
        with pytest.raises(SeriesError, match="x"):
            read_series(path)


def test_a_pickled_object_in_an_array_file_is_never_run(tmp_path):
    attacked = Path("/tmp/brainmass-was-attacked")
    attacked.unlink(missing_ok=True)
    objects = np.array([[Attack(), 1]], dtype=object)
    stream = io.BytesIO()
    np.save(stream, objects, allow_pickle=True)
    (tmp_path / "x.npy").write_bytes(stream.getvalue())
    for path in (tmp_path / "x.npy", zipped(tmp_path / "x.npz", a=stream.getvalue())):
        with pytest.raises(SeriesError, match="expected real numbers"):
            read_series(path)
    assert not attacked.exists()


# --- images and sidecars --------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [(30_000, 30_000, 30_000), (8_000, 8_000, 3)])
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_an_image_that_claims_more_than_it_holds_is_excluded(tmp_path, name, sides):
    image = nib.Nifti1Image(np.zeros((2, 2, 2, 3), np.int16), np.eye(4))
    content = bytearray(image.to_bytes())
    content[42:48] = struct.pack("<3h", *sides)
    path = tmp_path / name
    path.write_bytes(gzip.compress(bytes(content)) if name.endswith(".gz") else bytes(content))
    with pytest.raises(ScanExcluded, match=rf"{name}: its header gives"):
        read_header(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p)])
def test_what_is_no_file_is_no_image(tmp_path, make):
    make(tmp_path / "x.nii.gz")
    with pytest.raises(ScanExcluded, match=r"x\.nii\.gz: is a .*, expected a regular file"):
        read_header(tmp_path / "x.nii.gz")


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "[]", '{"RepetitionTime": 2, "RepetitionTime": 3}', "", "{"],
    ids=["deep", "list", "twice", "empty", "cut"],
)
def test_a_sidecar_that_cannot_be_read_excludes_its_scan(tmp_path, content):
    folder = tmp_path / "sub-1" / "func"
    folder.mkdir(parents=True)
    (folder / "sub-1_task-rest_bold.json").write_text(content)
    entities = {"sub": "1", "task": "rest", "suffix": "bold", "ext": ".nii.gz"}
    with pytest.raises(ScanExcluded, match=r"unreadable sidecar: .*bold\.json"):
        Sidecars(tmp_path).of(File(folder / "sub-1_task-rest_bold.nii.gz", entities))


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_repetition_time_of_very_many_digits_excludes_its_scan(tmp_path, digits):
    (tmp_path / "task-rest_bold.json").write_text(f'{{"RepetitionTime": 1{"0" * digits}}}')
    entities = {"sub": "1", "task": "rest", "suffix": "bold", "ext": ".nii.gz"}
    sidecar = Sidecars(tmp_path).of(File(tmp_path / "sub-1" / "x.nii.gz", entities))
    with pytest.raises(ScanExcluded, match="RepetitionTime in the sidecar is inf"):
        choose_t_r(Path("x.nii.gz"), sidecar, Header((2, 2, 2, 3), (2.0,), "2 sec"), 0.1)
