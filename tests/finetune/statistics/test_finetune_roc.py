import numpy as np
import pytest

from brainmass_core.finetune.statistics.metrics import Predictions, weighted_scores
from brainmass_core.finetune.statistics.roc import roc_band


def test_area_under_the_mean_curve_is_the_auc():
    rng = np.random.default_rng(9)
    y = np.repeat([0, 1], 100)
    score = np.round(rng.normal(y - 0.5, 1, (3, 200)), 1)  # with ties
    fold = np.stack([rng.permutation(200) % 4 for _ in range(3)])
    p = Predictions(y, np.arange(200), score, (score > 0).astype(int), fold)
    band = roc_band(p, 100, seed=1)
    area = np.trapezoid(band["tpr"], band["fpr"])
    assert area == pytest.approx(weighted_scores(p, np.ones((1, 200)))["auc"][0], abs=0.01)
    assert (band["tpr_low"] <= band["tpr"] + 1e-12).all()
    assert (band["tpr"] <= band["tpr_high"] + 1e-12).all()
    assert (np.diff(band["tpr"]) >= -1e-12).all()
