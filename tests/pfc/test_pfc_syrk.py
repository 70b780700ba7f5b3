"""Half of a symmetric product, from compiled code."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.pfc.syrk import SSYRK, upper_product


@numba.njit
def product(address: int, x: np.ndarray, out: np.ndarray) -> None:
    upper_product(address, x, out)


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 2**32))
def test_the_upper_triangle_is_numpys_and_the_lower_is_left_alone(k, n, seed):
    x = np.random.default_rng(seed).standard_normal((k, n)).astype(np.float32)
    out = np.full((n, n), np.nan, np.float32)
    product(SSYRK, x, out)
    expected = x.astype(float).T @ x.astype(float)
    upper = np.triu_indices(n)
    np.testing.assert_allclose(out[upper], expected[upper], atol=1e-5 * k)
    assert np.isnan(out[np.tril_indices(n, -1)]).all()


@pytest.mark.parametrize(
    "x", [np.zeros((3, 2)), np.zeros((2, 3), np.float32).T, np.zeros(3, np.float32)]
)
def test_other_arrays_are_refused_when_compiled(x):
    with pytest.raises(numba.TypingError, match="matrix of float32 in C order"):
        product(SSYRK, x, np.zeros((2, 2), np.float32))
