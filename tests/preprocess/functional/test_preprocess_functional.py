"""Reading a run: damaged input is refused with file, place and remedy."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from preprocess_phantom import save

from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed
from brainmass_core.preprocess.functional import bold as functional
from brainmass_core.preprocess.functional.bold import load_bold

SHAPE = (8, 9, 7, 50)
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


@pytest.fixture
def data() -> np.ndarray:
    return np.random.default_rng(0).integers(100, 1000, SHAPE).astype(np.int16)


def written(folder: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    return save(folder / "sub-1_task-rest_bold.nii.gz", nib.Nifti1Image(data, affine))


def refused(path: Path, kind: type[ScanFailed] = ScanFailed, **options) -> str:
    with pytest.raises(ScanFailed) as caught:
        load_bold(path, **options)
    assert type(caught.value) is kind
    assert str(path) in caught.value.reason
    assert "expected" in caught.value.reason
    assert caught.value.remedy
    return caught.value.reason


def test_a_sound_run_is_what_is_in_the_file_without_the_dummies(tmp_path, data):
    bold = load_bold(written(tmp_path, data), n_dummy_volumes=4)
    assert bold.data.dtype == np.float32
    np.testing.assert_array_equal(bold.data, data[..., 4:])
    np.testing.assert_array_equal(bold.affine, AFFINE)


def test_scale_factors_are_applied(tmp_path, data):
    image = nib.Nifti1Image(data * 0.37 + 5, AFFINE)
    image.set_data_dtype(np.int16)
    path = tmp_path / "sub-1_bold.nii"
    nib.save(image, path)
    np.testing.assert_allclose(load_bold(path).data, data * 0.37 + 5, rtol=1e-3)


@pytest.mark.parametrize("dtype", [">i2", "<i2", "u1", "<f4", ">f8"])
@pytest.mark.parametrize("name", ["sub-1_bold.nii", "sub-1_bold.nii.gz"])
def test_slabs_give_what_nibabel_gives(tmp_path, data, dtype, name, monkeypatch):
    monkeypatch.setattr(functional, "SLAB", 7 * 4 * data[..., 0].size)  # seven volumes at once
    image = nib.Nifti1Image((data % 200).astype(dtype), AFFINE)
    image.header.set_slope_inter(0.37, -5)
    image.set_data_dtype(np.dtype(dtype))
    nib.save(image, tmp_path / name)
    expected = nib.load(tmp_path / name).get_fdata()
    np.testing.assert_allclose(load_bold(tmp_path / name).data, expected, rtol=2e-7)
    np.testing.assert_array_equal(
        load_bold(tmp_path / name, 9).data, load_bold(tmp_path / name).data[..., 9:]
    )


def test_a_volume_lies_in_one_piece(tmp_path, data):
    assert load_bold(written(tmp_path, data), 3).data[..., 5].flags.f_contiguous


@pytest.mark.parametrize("place", [3, 4])
def test_a_unit_dimension_of_five_is_dropped(tmp_path, data, place):
    found = load_bold(written(tmp_path, np.expand_dims(data, place))).data
    np.testing.assert_array_equal(found, data)


def test_a_fifth_dimension_is_no_run(tmp_path, data):
    reason = refused(written(tmp_path, np.stack([data, data], axis=-1)))
    assert "5-D" in reason


def test_complex_voxels_are_no_run(tmp_path, data):
    assert "complex64" in refused(written(tmp_path, data.astype(np.complex64)))


def test_a_sheared_grid_is_read_as_it_is(tmp_path, data):
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.8
    image = nib.Nifti1Image(data, None)
    image.set_sform(sheared, 1)
    image.set_qform(None, 0)
    path = save(tmp_path / "sub-1_bold.nii.gz", image)
    np.testing.assert_allclose(load_bold(path).affine, sheared, atol=1e-6)


def test_a_wrong_checksum_is_found(tmp_path, data):
    path = written(tmp_path, data)
    content = bytearray(path.read_bytes())
    content[-6] ^= 255  # of the CRC at the end of the gzip stream
    path.write_bytes(content)
    assert "damaged" in refused(path)


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_file_is_named_with_what_it_should_hold(tmp_path, data, keep):
    path = written(tmp_path, data)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    reason = refused(path)
    assert "truncated" in reason
    assert str(data.nbytes) in reason


def test_a_file_that_is_no_image_is_named(tmp_path):
    path = tmp_path / "sub-1_bold.nii.gz"
    path.write_bytes(b"not an image")
    assert "unreadable NIfTI header" in refused(path)


def test_the_checksum_is_compared_whatever_lies_behind_the_voxels(tmp_path, data):
    path = written(tmp_path, data)
    content = gzip.compress(gzip.decompress(path.read_bytes()) + bytes(2**18))
    path.write_bytes(content)
    assert load_bold(path).data.shape == data.shape
    path.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    assert "CRC" in refused(path)


def test_a_link_without_content_names_datalad(tmp_path):
    (tmp_path / ".datalad").mkdir()
    path = tmp_path / "sub-1_bold.nii.gz"
    path.symlink_to(tmp_path / ".git/annex/objects/x")
    with pytest.raises(ScanFailed) as caught:
        load_bold(path)
    assert "datalad" in caught.value.remedy


def test_a_three_dimensional_image_is_no_run(tmp_path, data):
    assert "3-D" in refused(written(tmp_path, data[..., 0]))


def test_a_short_run_is_excluded_not_failed(tmp_path, data):
    path = written(tmp_path, data[..., :10])
    reason = refused(path, ScanExcluded, min_volumes=40)
    assert "10 volumes" in reason
    refused(written(tmp_path, data), ScanExcluded, min_volumes=40, n_dummy_volumes=11)


def test_detected_dummies_count_before_the_run_is_judged(tmp_path, data):
    bright = data.astype(np.float32)
    bright[..., :3] *= 2
    path = written(tmp_path, bright)
    bold = load_bold(path, "auto", min_volumes=47)
    assert bold.n_dummy_volumes == 3
    np.testing.assert_array_equal(bold.data, bright[..., 3:])
    assert "3 of them dummies" in refused(
        path, ScanExcluded, n_dummy_volumes="auto", min_volumes=48
    )


def test_all_volumes_as_dummies_leave_no_run(tmp_path, data):
    refused(written(tmp_path, data), ScanExcluded, n_dummy_volumes=49)


def test_ten_volumes_can_be_read_where_they_are_allowed(tmp_path, data):
    assert load_bold(written(tmp_path, data[..., :10]), "auto").data.shape == (8, 9, 7, 10)


@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "not finite"), (np.inf, "not finite"), (0, "zeros"), (7, "consta")]
)
def test_volumes_without_data_are_named_by_their_number(tmp_path, data, value, what):
    bad = data.astype(np.float32)
    bad[..., [12, 31]] = value
    reason = refused(written(tmp_path, bad), n_dummy_volumes=2)
    assert what in reason
    assert "[12, 31]" in reason


def test_one_voxel_that_is_not_a_number_is_found(tmp_path, data):
    bad = data.astype(np.float32)
    bad[3, 3, 3, 20] = np.nan
    assert "[20]" in refused(written(tmp_path, bad))


def test_a_run_that_never_changes_is_refused(tmp_path, data):
    assert "no change" in refused(written(tmp_path, np.repeat(data[..., :1], 50, axis=3)))


def test_a_singular_affine_is_refused(tmp_path, data):
    content = bytearray(nib.Nifti1Image(data, AFFINE).to_bytes())
    content[312:328] = bytes(16)  # srow_z of the header
    path = tmp_path / "sub-1_bold.nii"
    path.write_bytes(content)
    assert "affine" in refused(path)
