"""Confounds, compared with numbers of fMRIPrep and nipype."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds
from nipype.algorithms.confounds import ACompCor

from brainmass_core.preprocess.functional import confounds as module
from brainmass_core.preprocess.functional.confounds import (
    MOTION,
    compcor,
    confounds_table,
    cosines,
    dvars,
    expanded,
    save_confounds,
)


@pytest.fixture
def confounds() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 120
    parameters = np.cumsum(rng.normal(0, 0.02, (n, 6)), axis=0)
    fd = np.concatenate([[np.nan], rng.uniform(0, 0.3, n - 1)])
    fd[[40, 80]] = 0.9
    noise = rng.normal(100, 1, (n, 60)).astype(np.float32)
    return confounds_table(
        parameters,
        {"framewise_displacement": fd, "rmsd": fd / 2},
        dvars(noise),
        {"csf": noise[:, 0], "white_matter": noise[:, 1], "global_signal": noise.mean(axis=1)},
        compcor(noise),
        t_r=2.0,
        fd_threshold=0.5,
    )


def test_dvars_is_that_of_nipype(shared_data):
    folder = shared_data / "oracle_nipype"
    data = nib.load(folder / "ds003_sub-01_mc.nii.gz").get_fdata()
    mask = nib.load(folder / "ds003_sub-01_mc_brainmask.nii.gz").get_fdata() > 0
    published = np.loadtxt(folder / "ds003_sub-01_mc.DVARS")
    change, standardised = dvars(data[mask].T, intensity_normalization=0)
    assert np.isnan(change[0])
    np.testing.assert_allclose(change[1:], published[:, 1], rtol=1e-5)
    np.testing.assert_allclose(standardised[1:], published[:, 0], rtol=1e-2)


def test_dvars_does_not_depend_on_the_scanner_s_scale():
    noise = np.random.default_rng(0).normal(500, 10, (60, 200))
    for a, b in zip(dvars(noise), dvars(3.7 * noise), strict=True):
        np.testing.assert_allclose(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_size_of_the_blocks_does_not_matter(monkeypatch, dtype):
    rng = np.random.default_rng(0)
    series = (500 + rng.normal(0, 10, (60, 203)) + rng.normal(0, 5, (60, 1))).astype(dtype)
    series[:, [3, 40]] = 7
    whole = (*dvars(series), compcor(series))
    monkeypatch.setattr(module, "BLOCK", 60 * 20)
    for found, expected in zip((*dvars(series), compcor(series)), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_voxels", [0, 3])
def test_voxels_that_never_vary_have_no_dvars(n_voxels):
    for found in dvars(np.ones((10, n_voxels))):
        assert np.isnan(found).all()


def test_white_noise_has_a_standardised_dvars_of_one():
    noise = np.random.default_rng(0).normal(500, 10, (400, 500))
    assert abs(np.nanmean(dvars(noise)[1]) - 1) < 0.02


def test_derivatives_and_squares_are_those_of_fmriprep(shared_data):
    table = pd.read_csv(next((shared_data / "oracle_fmriprep_confounds").glob("*.tsv")), sep="\t")
    base = [*MOTION, "csf", "white_matter", "global_signal"]
    found = expanded(table[base])
    assert len(found.columns) == 36
    for name in found:
        np.testing.assert_allclose(
            found[name], table[name], rtol=1e-7, atol=1e-9 * np.nanmax(np.abs(table[name]))
        )


def test_lag_terms_are_the_values_of_the_volume_before(confounds):
    for name in MOTION:
        np.testing.assert_array_equal(confounds[f"{name}_lag1"][1:], confounds[name][:-1])
        np.testing.assert_array_equal(
            confounds[f"{name}_lag1_power2"][1:], confounds[f"{name}_power2"][:-1]
        )
        assert np.isnan(confounds[f"{name}_lag1"][0])


def test_acompcor_is_that_of_nipype(tmp_path):
    rng = np.random.default_rng(0)
    n = 80
    mixing = rng.normal(size=(6, 6 * 6 * 6)) * np.array([8, 6, 5, 4, 3, 2])[:, None]
    drift = np.linspace(0, 30, n)[:, None]
    series = 1000 + rng.normal(size=(n, 6)) @ mixing + rng.normal(size=(n, 216)) + drift
    image = nib.Nifti1Image(series.T.reshape(6, 6, 6, n), np.eye(4))
    mask = nib.Nifti1Image(np.ones((6, 6, 6), np.uint8), np.eye(4))
    nib.save(image, tmp_path / "bold.nii")
    nib.save(mask, tmp_path / "mask.nii")
    ACompCor(
        realigned_file=str(tmp_path / "bold.nii"),
        mask_files=[str(tmp_path / "mask.nii")],
        num_components=5,
        pre_filter="polynomial",
        regress_poly_degree=1,
        components_file=str(tmp_path / "components.tsv"),
    ).run(cwd=str(tmp_path))
    theirs = np.loadtxt(tmp_path / "components.tsv", skiprows=1)
    ours = compcor(series, 5)
    for k in range(5):
        assert abs(np.corrcoef(ours[:, k], theirs[:, k])[0, 1]) > 0.9999


def test_components_are_orthonormal_and_free_of_trend():
    noise = np.random.default_rng(0).normal(size=(90, 300)) + np.linspace(0, 9, 90)[:, None]
    components = compcor(noise)
    trend = np.stack([np.ones(90), np.arange(90)], axis=1)
    np.testing.assert_allclose(components.T @ components, np.eye(10), atol=1e-10)
    np.testing.assert_allclose(trend.T @ components, 0, atol=1e-9)


def test_fewer_noise_voxels_give_fewer_components():
    assert compcor(np.random.default_rng(0).normal(size=(50, 4))).shape == (50, 4)
    assert compcor(np.ones((50, 4))).shape == (50, 0)


def test_cosines_are_orthonormal_and_slow():
    slow = cosines(200, 2.0)
    np.testing.assert_allclose(slow.T @ slow, np.eye(slow.shape[1]), atol=1e-12)
    assert slow.shape[1] == 6  # periods of 800 s down to 133 s


def test_each_outlier_has_its_own_column(confounds):
    spikes = confounds.filter(like="motion_outlier")
    assert (spikes.sum() == 1).all()
    assert {40, 80} <= set(np.flatnonzero(spikes.sum(axis=1)))


def test_the_file_is_fmriprep_s(tmp_path, confounds):
    path = tmp_path / "sub-1_desc-confounds_timeseries.tsv"
    save_confounds(path, confounds)
    assert path.read_text().splitlines()[1].count("n/a") == 12 + 6 + 12 + 4
    back = pd.read_csv(path, sep="\t", na_values="n/a")
    np.testing.assert_allclose(back, confounds, rtol=1e-8)


def test_nilearn_reads_the_table(tmp_path, confounds):
    image = tmp_path / "sub-1_task-rest_space-MNI152_desc-preproc_bold.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, 120), np.int16), np.eye(4)), image)
    save_confounds(tmp_path / "sub-1_task-rest_desc-confounds_timeseries.tsv", confounds)
    about = {c: {"Mask": "combined", "Method": "aCompCor"} for c in confounds if "comp_cor" in c}
    sidecar = tmp_path / "sub-1_task-rest_desc-confounds_timeseries.json"
    sidecar.write_text(pd.Series(about).to_json())
    table, _ = load_confounds(
        str(image),
        strategy=("motion", "wm_csf", "global_signal", "high_pass", "compcor"),
        motion="full",
        compcor="anat_combined",
        n_compcor=5,
    )
    assert table.shape == (120, 24 + 2 + 1 + 3 + 5)
