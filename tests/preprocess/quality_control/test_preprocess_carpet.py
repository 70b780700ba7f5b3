"""The sample of voxels that the quality pages show."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.preprocess.quality_control.carpet import (
    load_carpet,
    sample_carpet,
    save_carpet,
)


def run(n_volumes=30, counts=(3000, 1500, 40), seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 2, 3], counts)
    series = 500 + rng.standard_normal((n_volumes, len(labels)))
    return series, labels


@given(
    st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(0, 400)), st.integers(9, 200)
)
def test_no_more_voxels_than_asked_for_and_all_where_there_are_fewer(counts, n):
    series, labels = run(4, counts)
    found = sample_carpet(series, labels, n)
    assert found["series"].shape == (4, len(found["tissue"]))
    assert len(found["tissue"]) <= n
    assert len(found["tissue"]) >= min(len(labels), n - 3)
    assert (np.diff(found["tissue"].astype(int)) >= 0).all()


def test_a_small_tissue_is_shown_whole():
    series, labels = run()
    assert (sample_carpet(series, labels)["tissue"] == 3).sum() == 40


def test_the_values_are_percent_of_the_mean():
    series, labels = run()
    found = sample_carpet(series, labels, 10**6)
    expected = 100 * (series / series.mean(axis=0) - 1)
    np.testing.assert_allclose(found["series"], expected, atol=2e-3)


def test_voxels_without_tissue_or_signal_are_left_out():
    series, labels = run()
    labels[:10] = 0
    series[:, 10] = 0.0
    series[:, 11] = np.nan
    assert len(sample_carpet(series, labels, 10**6)["tissue"]) == len(labels) - 12


def test_a_carpet_survives_the_file_byte_for_byte(tmp_path):
    carpet = sample_carpet(*run())
    save_carpet(tmp_path / "a.npz", carpet)
    save_carpet(tmp_path / "b.npz", carpet)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = load_carpet(tmp_path / "a.npz")
    assert (again["series"] == carpet["series"]).all()
    assert (again["tissue"] == carpet["tissue"]).all()
