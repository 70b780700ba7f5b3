from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from interpret_study import SMALL, cohort, regions_of
from scipy import stats

from brainmass_core.atlas import published_labels
from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.interpret.networks import networks_of
from brainmass_core.interpret.stability import (
    holm,
    jaccard,
    kuncheva,
    mean_interval,
    network_test,
    p_values,
    spearman,
    top_of,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def draw_tops(rng, m: int, d: int, k: int, weight: np.ndarray) -> np.ndarray:
    return top_of(weight + rng.standard_normal((m, d)), k)


def test_the_index_is_the_mean_of_kuncheva_s_over_all_pairs(rng):
    d, k = 30, 6
    top = draw_tops(rng, 7, d, k, np.linspace(2, 0, d))
    pairs = [
        ((a & b).sum() * d - k**2) / (k * (d - k)) for a, b in combinations(top, 2)
    ]  # Kuncheva 2007: (r d - k²) / (k (d - k))
    assert kuncheva(top)[0] == pytest.approx(np.mean(pairs))


def test_the_same_regions_agree_by_1_and_random_ones_by_0(rng):
    same = np.tile(np.arange(20) < 5, (6, 1))
    assert kuncheva(same) == pytest.approx((1, 1, 1))
    assert jaccard(same)[0] == 1
    drawn = [kuncheva(draw_tops(rng, 10, 40, 10, np.zeros(40)))[0] for _ in range(200)]
    assert np.mean(drawn) == pytest.approx(0, abs=0.01)


def test_the_interval_of_the_index_covers_its_value_for_independent_folds(rng):
    d, k = 40, 10
    weight = np.where(np.arange(d) < 12, 2.0, 0.0)
    truth = np.mean([kuncheva(draw_tops(rng, 50, d, k, weight))[0] for _ in range(200)])
    covered = []
    for _ in range(400):
        _, low, high = kuncheva(draw_tops(rng, 20, d, k, weight))
        covered.append(low <= truth <= high)
    assert 0.88 < np.mean(covered) < 0.99


def test_the_jackknife_of_spearman_is_centred_on_the_mean_over_pairs(rng):
    rows = np.linspace(0, 3, 25) + rng.standard_normal((6, 25))
    pairs = [stats.spearmanr(a, b).statistic for a, b in combinations(rows, 2)]
    value, low, high = spearman(rows)
    assert value == pytest.approx(np.mean(pairs))
    assert low < value < high


def test_without_overlap_the_corrected_test_is_student_s(rng):
    values = rng.standard_normal((8, 5)) + 0.4
    one = stats.ttest_1samp(values, 0, alternative="greater")
    np.testing.assert_allclose(p_values(values, 1e12, 1, two_sided=False), one.pvalue, rtol=1e-5)
    two = stats.ttest_1samp(values, 0)
    np.testing.assert_allclose(p_values(values, 1e12, 1, two_sided=True), two.pvalue, rtol=1e-5)
    _, low, high = mean_interval(values, 1e12, 1)
    np.testing.assert_allclose([low, high], [*two.confidence_interval()], rtol=1e-5)


def test_the_same_value_in_every_fold_leaves_no_doubt_unless_it_is_0():
    values = np.tile([0.5, 0.0, -0.5], (5, 1))
    np.testing.assert_allclose(p_values(values, 4, 1, two_sided=False), [0, 0.5, 1])
    np.testing.assert_allclose(p_values(values, 4, 1, two_sided=True), [0, 1, 0])


def test_overlapping_training_sets_widen_the_interval(rng):
    values = rng.standard_normal((10, 1))
    apart, nadeau = mean_interval(values, 1e12, 1), mean_interval(values, 4, 1)
    ratio = (nadeau[2] - nadeau[1]) / (apart[2] - apart[1])
    assert ratio == pytest.approx(np.sqrt((1 / 10 + 1 / 4) / (1 / 10)))


def test_holm_s_correction_of_a_textbook_example():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_a_planted_network_is_found_and_random_ones_are_not(rng):
    networks = np.repeat(["a", "b", "c", "d"], 10)
    importance = rng.standard_normal(40) + 2.0 * (networks == "c")
    found = network_test(importance, networks, 2000, rng)
    assert found["c"][1] < 0.01
    assert found["c"][0] == pytest.approx(importance[networks == "c"].mean())
    p = [network_test(rng.standard_normal(40), networks, 200, rng)["a"][1] for _ in range(150)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def atlas_labels(**columns) -> pd.DataFrame:
    return pd.DataFrame({"network": "", "x": np.nan, "y": np.nan, "z": np.nan} | columns)


def test_an_atlas_without_networks_takes_those_of_the_nearest_schaefer_parcels():
    known = published_labels()
    moved = known[["x", "y", "z"]].to_numpy() + 1.0
    labels = atlas_labels(x=moved[:, 0], y=moved[:, 1], z=moved[:, 2])
    found, source = networks_of(labels)
    assert source == "nearest"
    assert (found == known["network"].to_numpy()).mean() > 0.95
    deep, _ = networks_of(atlas_labels(x=[0.0], y=[-50.0], z=[-45.0]))
    assert deep.tolist() == ["none"]  # the cerebellum has no cortical network


def test_an_atlas_with_neither_networks_nor_places_has_no_summary():
    found, source = networks_of(atlas_labels(network=["", ""]))
    assert source == ""
    assert found.tolist() == ["", ""]


def test_one_fold_says_that_nothing_is_known_and_claims_neither_chance_nor_its_absence():
    data = cohort(effect=1.0, n=80)
    half = Fold(0, 0, np.arange(40), np.arange(40, 80))
    fc_alone = SMALL.model_copy(update={"methods": ["fc_pattern"]})
    regions, stability = regions_of(data, fc_alone, encoder=False, folds=[half])
    (reason,) = stability["reason"]
    assert stability["auc"].item() > 0.5
    assert stability["auc_low"].isna().all()
    assert reason.startswith("one fold: no interval")
    for word in ("nan", "no better", "unknown to", "agree by"):
        assert word not in reason
    assert (regions["reason"] == reason).all()
    assert regions["importance_low"].isna().all()
