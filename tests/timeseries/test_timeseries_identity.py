"""A copy of a series is known by its content; another series is not taken for it."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmass_core.timeseries.identity import series_fingerprint, source_checksum


def series(seed=0, n_timepoints=60, n_rois=12):
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n_timepoints, 3)) @ rng.standard_normal((3, n_rois))
    return mixed + 0.8 * rng.standard_normal((n_timepoints, n_rois))


COPIES = {
    "single precision": lambda x: x.astype(np.float32),
    "text of eight digits": lambda x: np.array([[float(f"{v:.8g}") for v in row] for row in x]),
    "z-scored": lambda x: (x - x.mean(0)) / x.std(0),
    "another scale and level of each parcel": lambda x: x * np.arange(1, x.shape[1] + 1) + 1000,
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES)
def test_a_copy_has_the_same_fingerprint(change):
    for seed in range(20):
        x = series(seed)
        assert series_fingerprint(change(x)) == series_fingerprint(x)


def test_other_series_have_others():
    # two runs that share most of their signal are still two runs
    first = series()
    noise = np.random.default_rng(1).standard_normal(first.shape)
    found = [series_fingerprint(series(seed)) for seed in range(300)]
    found += [series_fingerprint(first + 0.1 * noise), series_fingerprint(first[:, ::-1])]
    found += [series_fingerprint(first[::-1]), series_fingerprint(first[:-1])]
    assert len(set(found)) == len(found)
    assert all(len(text) == 64 for text in found)


def test_parcels_that_are_missing_in_both_copies_do_not_matter():
    x = series()
    x[:, :4] = np.nan
    assert series_fingerprint(x.astype(np.float32)) == series_fingerprint(x)


@pytest.mark.parametrize(
    "x",
    [np.zeros((60, 12)), np.full((60, 12), np.nan), np.zeros((1, 12)), np.zeros((60, 0))],
    ids=["constant", "missing", "one timepoint", "no parcel"],
)
def test_what_says_nothing_is_like_nothing(x):
    assert series_fingerprint(x) is None


def test_a_mostly_constant_series_is_like_nothing():
    x = series()
    x[:, 2:] = 3.0
    assert series_fingerprint(x) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 40), st.integers(1, 20), st.integers(0, 1000))
def test_any_shape_has_a_fingerprint_that_scaling_keeps(n_timepoints, n_rois, seed):
    x = np.random.default_rng(seed).standard_normal((n_timepoints, n_rois))
    assert series_fingerprint(x) is not None
    assert series_fingerprint(4 * x) == series_fingerprint(x)


def test_the_source_is_the_bytes_and_the_array_in_them(tmp_path):
    one, other = tmp_path / "sub-01.npz", tmp_path / "elsewhere" / "x.npz"
    other.parent.mkdir()
    one.write_bytes(gzip.compress(b"abc", mtime=0))
    other.write_bytes(one.read_bytes())
    assert source_checksum(one, None) == source_checksum(other, None)
    assert source_checksum(one, "a") != source_checksum(one, "b")
    other.write_bytes(one.read_bytes() + b"\0")
    assert source_checksum(one, None) != source_checksum(other, None)
