"""Target transforms as BrainLM's released code has them, with constants of the training scans."""

import numpy as np
import pytest

from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.finetune.methods.fitting import predict_folds, target_transformer


def fitted(name: str, values: list[float]):
    return target_transformer(name).fit(np.array(values)[:, None])


def test_the_smallest_ptsd_score_is_a_fifth_of_the_largest_in_logarithms():
    transformer = fitted("log1p_max", [1.0, 7.0, 29.0])
    found = transformer.transform(np.array([[1.0], [29.0]]))[:, 0]
    np.testing.assert_allclose(found, [np.log(2) / np.log(30), 1.0], atol=1e-12)
    assert found[0] == pytest.approx(0.204, abs=5e-4)  # and not 0, as from least to largest


def test_no_anxiety_is_zero():
    assert fitted("log1p_max", [0.0, 3.0, 21.0]).transform([[0.0]]).item() == 0


@pytest.mark.parametrize("name", ["zscore", "minmax", "max", "log1p", "log1p_max"])
def test_a_prediction_comes_back_in_the_targets_own_unit(name):
    ages = np.random.default_rng(0).normal(63.0, 7.388, 500).clip(40)[:, None]
    transformer = target_transformer(name).fit(ages)
    back = transformer.inverse_transform(transformer.transform(ages))
    np.testing.assert_allclose(back, ages, atol=1e-5)


def test_constants_are_those_of_the_training_scans():
    transformer = fitted("zscore", [50.0, 60.0, 70.0])
    np.testing.assert_allclose(transformer.transform([[90.0]]), 30 / np.std([50, 60, 70]))


def test_a_readout_unit_that_wakes_up_at_test_leaves_a_scan_its_score():
    # if one unit is 90 SD away, a radial kernel alone would ignore all others
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    features = rng.standard_normal((80, 20)) + 1.5 * y[:, None]
    features[:, 0] = 0.001 * rng.standard_normal(80)
    woken = features.copy()
    woken[60:, 0] = 1.0
    fold = Fold(0, 0, np.arange(60), np.arange(60, 80))
    plain, other = (
        predict_folds("brainmass_svm", x, y, [fold], seed=0)["y_pred"] for x in (features, woken)
    )
    assert (plain == y[60:]).mean() > 0.9
    assert (other == y[60:]).mean() > 0.9
