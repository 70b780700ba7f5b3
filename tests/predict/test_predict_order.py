"""Matrices and series given to `predict` are brought into the order of the model's parcels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from brainmass_core.predict.inputs import _in_order
from brainmass_core.predict.route import Options, _series

NAMES = ["Vis", "Som", "Dor", "Con"]
CONTRACT = SimpleNamespace(atlas=SimpleNamespace(names=NAMES), processing={}, t_r=[2.0])


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
def test_a_matrix_in_another_order_is_put_right(order):
    fc = np.corrcoef(np.random.default_rng(0).normal(size=(4, 30)))
    found = [NAMES[i] for i in order]
    names, matrix = _in_order(Path("x_relmat.tsv"), found, fc[np.ix_(order, order)], CONTRACT)
    assert names == NAMES
    np.testing.assert_array_equal(matrix, fc)


def test_a_matrix_of_other_parcels_is_left_to_be_refused():
    fc = np.eye(4)
    names, matrix = _in_order(Path("x_relmat.tsv"), ["a", "b", "c", "d"], fc, CONTRACT)
    assert names == ["a", "b", "c", "d"]
    assert matrix is fc


def test_what_is_said_of_series_reaches_their_reader(tmp_path):
    options = Options(header=True, array="ts", orientation="roi_by_time")
    found = _series(tmp_path, CONTRACT, options)
    assert (found["header"], found["array"], found["orientation"]) == (True, "ts", "roi_by_time")
