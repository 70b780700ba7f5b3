"""Hypothesis strategies that several test folders share."""

from __future__ import annotations

import string

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

labels = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
fractions = st.floats(0.05, 0.95)
seeds = st.integers(0, 2**31 - 1)


def strata(max_size: int = 40) -> st.SearchStrategy[dict[str, tuple[str, ...]]]:
    """Participant to (label, site), with strata of very different sizes."""
    stratum = st.tuples(st.sampled_from(["patient", "control", ""]), st.sampled_from(["A", "B"]))
    return st.dictionaries(labels.map("sub-{}".format), stratum, min_size=1, max_size=max_size)


def series(max_timepoints: int = 12, max_rois: int = 6) -> st.SearchStrategy[np.ndarray]:
    """Finite series of shape (n_timepoints, n_rois) that text files can represent."""
    shape = st.tuples(st.integers(2, max_timepoints), st.integers(2, max_rois))
    # a third of a whole number never looks like a column number
    values = st.integers(-(10**6), 10**6).map(lambda v: v + 1 / 3)
    return shape.flatmap(lambda s: hnp.arrays(np.float64, s, elements=values))
