"""Uncertainty where little is known: few participants, few draws."""

import numpy as np
import pytest
from scipy import stats

from brainmass_core.auc import LEVEL, standard_error
from brainmass_core.finetune.few_shot import _Curve, _summary
from brainmass_core.finetune.statistics.inference import permutation_p
from brainmass_core.finetune.statistics.metrics import Predictions


def test_with_one_scan_each_the_standard_error_is_that_of_a_mean():
    psi = np.array([0.3, -0.1, 0.4, -0.6])
    assert standard_error(psi, np.arange(4)) == pytest.approx(stats.sem(psi))


def test_scans_of_one_participant_are_one_observation():
    psi = np.array([0.5, 0.1, -0.2, -0.4])
    expected = stats.sem([0.3, -0.3])
    assert standard_error(psi, np.array([0, 0, 1, 1])) == pytest.approx(expected)


def test_the_interval_of_a_curve_is_that_of_the_mean_over_draws():
    curve = _Curve(np.zeros((2, 8)), np.ones(8, int))  # the tested participants are not resampled
    scores = [0.55, 0.6, 0.62, 0.7]
    for draw, score in enumerate(scores):
        curve.by_draw[draw].append((score, score, 8))
    row = _summary("m", 2, curve, np.arange(8) % 2, np.arange(8))
    assert row["auc"] == pytest.approx(np.mean(scores))
    assert row["auc_high"] - row["auc"] == pytest.approx(LEVEL * stats.sem(scores))
    assert row["auc"] - row["auc_low"] == pytest.approx(LEVEL * stats.sem(scores))


def test_a_permutation_p_is_never_0():
    y = np.arange(40) % 2
    score = (y + np.linspace(0, 0.1, 40))[None]
    p = Predictions(y, np.arange(40), score, y[None].astype(float), np.zeros((1, 40), int))
    assert permutation_p(p, "auc", 19, seed=0) == 1 / 20
