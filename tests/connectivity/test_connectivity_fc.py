"""Estimators and vectors of FC, against nilearn, numpy and C-PAC's own matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nilearn.connectome import ConnectivityMeasure
from scipy.io import loadmat
from sklearn.covariance import EmpiricalCovariance

from brainmass_core.connectivity import (
    ESTIMATORS,
    ledoit_wolf,
    n_rois_of,
    pearson,
    unvectorise,
    vectorise,
)

seeds = st.integers(0, 2**31 - 1)


def structured(seed: int, n_timepoints: int = 160, n_rois: int = 30) -> np.ndarray:
    """Series with shared components: white noise would make Ledoit-Wolf trivial."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_timepoints, 6)) @ rng.standard_normal((6, n_rois))
    return shared + 2 * rng.standard_normal((n_timepoints, n_rois))


@given(seeds, st.integers(2, 12))
def test_unvectorise_is_the_inverse_of_vectorise(seed: int, n_rois: int) -> None:
    matrix = np.random.default_rng(seed).standard_normal((n_rois, n_rois))
    matrix = matrix + matrix.T
    np.fill_diagonal(matrix, 1.0)
    np.testing.assert_array_equal(unvectorise(vectorise(matrix)), matrix)


@given(seeds, st.integers(2, 12))
def test_vectorise_is_the_inverse_of_unvectorise(seed: int, n_rois: int) -> None:
    vector = np.random.default_rng(seed).standard_normal((3, n_rois * (n_rois - 1) // 2))
    np.testing.assert_array_equal(vectorise(unvectorise(vector)), vector)


def test_vectorise_runs_along_rows_of_the_upper_triangle() -> None:
    matrix = np.arange(16).reshape(4, 4)
    assert vectorise(matrix).tolist() == [1, 2, 3, 6, 7, 11]


@pytest.mark.parametrize("n_edges", [0, 2, 4, 4949])
def test_a_number_of_edges_that_is_no_triangle_is_refused(n_edges: int) -> None:
    with pytest.raises(ValueError, match=f"{n_edges} edges"):
        n_rois_of(n_edges)


def test_pearson_equals_numpy() -> None:
    x = structured(0)
    np.testing.assert_allclose(pearson(x), np.corrcoef(x.T), atol=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_pearson_equals_nilearn_with_the_empirical_covariance() -> None:
    x = structured(1)
    measure = ConnectivityMeasure(EmpiricalCovariance(), kind="correlation")
    np.testing.assert_allclose(pearson(x), measure.fit_transform([x])[0], atol=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("n_timepoints", [40, 160, 400])
def test_ledoit_wolf_equals_nilearns_default_correlation(n_timepoints: int) -> None:
    x = structured(2, n_timepoints)
    measure = ConnectivityMeasure(kind="correlation")
    theirs = measure.fit_transform([x])[0]
    np.testing.assert_allclose(ledoit_wolf(x), theirs, atol=1e-12)
    assert np.abs(theirs - pearson(x)).max() > 1e-3  # the test can tell the two apart


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_ledoit_wolf_with_a_constant_roi_equals_nilearn() -> None:
    x = structured(3)
    x[:, 4] = 7.1
    measure = ConnectivityMeasure(kind="correlation")
    np.testing.assert_allclose(ledoit_wolf(x), measure.fit_transform([x])[0], atol=1e-12)


def test_ledoit_wolf_equals_the_matrices_that_cpac_published(shared_data) -> None:
    folder = shared_data / "oracle_abide_cpac_dev"
    matrices = sorted((folder / "ho_filt_noglobal_nilearnLW_correlation").glob("*.mat"))
    assert len(matrices) >= 6
    for file in matrices:
        (series,) = (folder / "ho_filt_noglobal").glob(f"*00{file.name.split('_')[0]}_rois_ho.1D*")
        theirs = loadmat(file)["connectivity"]
        np.testing.assert_allclose(ledoit_wolf(np.loadtxt(series)), theirs, atol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=list(ESTIMATORS))
class TestEveryEstimator:
    @given(seed=seeds)
    @settings(max_examples=20)
    def test_is_symmetric_bounded_and_has_a_unit_diagonal(self, estimator, seed: int) -> None:
        r = estimator(structured(seed, 20, 8))
        np.testing.assert_allclose(r, r.T, atol=1e-14)
        np.testing.assert_array_equal(np.diag(r), 1)
        assert np.abs(r).max() <= 1

    @given(seed=seeds)
    @settings(max_examples=20)
    def test_ignores_scale_and_offset_of_every_roi(self, estimator, seed: int) -> None:
        x = structured(seed, 20, 8)
        rng = np.random.default_rng(seed)
        other = x * rng.uniform(0.1, 50, 8) + rng.normal(0, 100, 8)
        np.testing.assert_allclose(estimator(other), estimator(x), atol=1e-10)

    def test_gives_a_batch_what_it_gives_each_alone(self, estimator) -> None:
        batch = np.stack([structured(seed) for seed in range(4)])
        each = np.stack([estimator(x) for x in batch])
        np.testing.assert_allclose(estimator(batch), each, atol=1e-14)

    def test_gives_a_constant_roi_zeros(self, estimator) -> None:
        x = structured(5)
        x[:, 2] = 1234.5
        r = estimator(x)
        assert np.isfinite(r).all()
        np.testing.assert_array_equal(np.delete(r[2], 2), 0)

    def test_refuses_missing_values_by_name(self, estimator) -> None:
        x = structured(6)
        x[3, 7] = np.nan
        with pytest.raises(ValueError, match=r"ROIs \[7\]"):
            estimator(x)

    def test_refuses_a_single_timepoint(self, estimator) -> None:
        with pytest.raises(ValueError, match="n_timepoints >= 2"):
            estimator(structured(7, 1))
