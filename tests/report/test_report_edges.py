import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.report.figures import strongest_edges


@given(st.integers(2, 12), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_the_strongest_edges_are_kept_and_no_others(n_rois, n, seed):
    matrix = np.random.default_rng(seed).standard_normal((n_rois, n_rois))
    matrix = matrix + matrix.T
    kept = strongest_edges(matrix, n)
    upper = np.triu_indices(n_rois, 1)
    chosen = kept[upper] != 0
    assert (kept == kept.T).all()
    assert chosen.sum() == min(n, len(chosen))
    assert (kept[upper][chosen] == matrix[upper][chosen]).all()
    if 0 < chosen.sum() < len(chosen):
        strength = np.abs(matrix[upper])
        assert strength[chosen].min() >= strength[~chosen].max()
