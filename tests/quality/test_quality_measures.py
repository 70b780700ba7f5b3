"""Lights, outliers and group comparisons."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from synthetic_study import make_config

from brainmass_core.quality.groups import compare
from brainmass_core.quality.measures import (
    MEASURES,
    Reference,
    flags,
    light,
    reference_of,
    references,
)
from brainmass_core.tables import QUALITY

BY_KEY = {m.key: m for m in MEASURES}
FD, DICE = BY_KEY["mean_fd"], BY_KEY["mask_dice"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return make_config(tmp_path_factory.mktemp("config"))


def test_every_measure_is_a_column_and_every_knob_exists(config):
    assert {m.key for m in MEASURES} <= set(QUALITY.names)
    numbers = {f.name for f in QUALITY if str(f.type) == "double"}
    assert numbers == set(BY_KEY)
    for measure in MEASURES:
        measure.threshold(config)


@pytest.mark.parametrize(
    ("measure", "value", "reference", "expected"),
    [
        (FD, 0.51, None, "bad"),
        (FD, 0.5, None, "good"),
        (FD, 0.3, Reference(0.1, 0.02, 50), "odd"),
        (FD, 0.01, Reference(0.1, 0.02, 50), "good"),
        (DICE, 0.7, None, "bad"),
        (DICE, 0.8, Reference(0.95, 0.01, 50), "odd"),
        (DICE, 0.99, Reference(0.95, 0.01, 50), "good"),
        (BY_KEY["tsnr"], 40.0, None, "none"),
        (BY_KEY["tsnr"], None, Reference(50, 5, 50), "none"),
        (BY_KEY["tsnr"], float("nan"), Reference(50, 5, 50), "none"),
    ],
)
def test_a_light_goes_by_the_threshold_first_and_by_the_bad_side_only(
    measure, value, reference, expected, config
):
    assert light(measure, value, config, reference) == expected


@given(st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=60))
def test_the_robust_spread_is_scipys(values):
    found = reference_of(values)
    spread = stats.median_abs_deviation(values, scale=1.0) * 1.4826
    if found is not None:
        assert found.spread == pytest.approx(spread)
        assert found.median == np.median(values)
    else:
        assert spread <= 1e-9 * max(1.0, abs(np.median(values)))


def test_few_scans_or_equal_ones_are_no_reference():
    assert reference_of([0.1 * i for i in range(19)]) is None
    assert reference_of([0.1 * i for i in range(20)]) is not None
    assert reference_of([2.0] * 50) is None
    assert reference_of([None, float("nan")] * 50) is None


def test_one_wild_scan_does_not_hide_itself(config):
    rows = [{"mean_fd": 0.1 + 0.001 * i} for i in range(30)] + [{"mean_fd": 0.45}]
    found = references(rows)
    assert flags(rows[-1], config, found) == ["mean_fd"]
    assert all(flags(row, config, found) == [] for row in rows[:-1])


def test_what_the_protocol_sets_is_not_compared():
    rows = [{"n_timepoints": 200.0 + i, "mean_fd": 0.1 + 0.01 * i} for i in range(30)]
    assert set(references(rows)) == {"mean_fd"}


def test_two_groups_are_compared_by_scipys_mann_whitney():
    rng = np.random.default_rng(0)
    values = pd.Series(np.r_[rng.normal(0, 1, 40), rng.normal(1, 1, 30)])
    groups = pd.Series(["b"] * 40 + ["a"] * 30)
    found = compare(values, groups)
    oracle = stats.mannwhitneyu(values[40:], values[:40])
    assert found.p == pytest.approx(oracle.pvalue)
    wins = np.mean(values[40:].to_numpy()[:, None] > values[:40].to_numpy()[None])
    assert found.effect == pytest.approx(2 * wins - 1)
    assert found.effect > 0, "positive where the first group by name is larger"


def test_three_groups_are_compared_by_scipys_kruskal():
    rng = np.random.default_rng(1)
    parts = [rng.normal(k, 1, 20) for k in range(3)]
    found = compare(pd.Series(np.concatenate(parts)), pd.Series(np.repeat(list("abc"), 20)))
    h, p = stats.kruskal(*parts)
    assert (found.p, found.effect) == pytest.approx((p, h / 59))


def test_small_groups_and_missing_labels_are_left_out():
    values = pd.Series([1.0, 2, 3, 4, 5, 6, 7, 8])
    groups = pd.Series(["a", "a", "a", "b", "b", "b", "c", None])
    assert set(compare(values, groups).medians) == {"a", "b"}
    assert compare(values, pd.Series(["a"] * 8)) is None
    assert compare(pd.Series([1.0] * 8), groups) is None
