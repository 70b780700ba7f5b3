"""Scores of few labelled people, and what a control says about them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from brainmass_core.drawing import png_of, styled
from brainmass_core.positive_control import comparison, control
from brainmass_core.positive_control.cohort import population

RNG = np.random.default_rng(0)


class Plain:
    """An encoder whose embedding is FC times a factor; its projection is noise."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def encode(self, fc: torch.Tensor, readout: str = "") -> torch.Tensor:
        if readout:
            return torch.from_numpy(np.random.default_rng(1).standard_normal((len(fc), 3)))
        return fc * self.factor


def test_the_interval_is_that_of_a_t_test():
    values = RNG.normal(0.3, 1, 12)
    limits = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = comparison.mean_with_interval(values)
    np.testing.assert_allclose(found, (values.mean(), limits.low, limits.high))


def test_differences_are_paired_and_a_readout_has_its_own_control():
    names = ["fc", "untrained", "untrained_projection", "pretrained", "pretrained_projection"]
    scored = pd.DataFrame({n: RNG.uniform(0.4, 0.9, 10) for n in names})
    rows = comparison.summary(scored).set_index("features")
    for name, control_of in (("pretrained", "untrained"), (names[4], names[2])):
        for reference, other in (("fc", "fc"), ("untrained", control_of)):
            test = stats.ttest_rel(scored[name], scored[other]).confidence_interval(0.95)
            found = rows.loc[name, [f"minus_{reference}_low", f"minus_{reference}_high"]]
            np.testing.assert_allclose(found.astype(float), (test.low, test.high))
    assert rows.loc["fc", "minus_fc"] != rows.loc["fc", "minus_fc"]  # NaN


def test_an_encoder_that_changes_nothing_scores_as_fc_does_and_does_not_pass():
    people = population(8, 2, 0)
    found = comparison.scores(
        people, Plain(-2.0), Plain(1.0), k=8, n_draws=3, n_timepoints=40, seed=1
    )
    assert list(found) == [
        "fc",
        *(f"{n}{r}" for n in ("untrained", "pretrained") for r in ("", "_projection")),
    ]
    np.testing.assert_allclose(found["untrained"], found["fc"])
    np.testing.assert_allclose(found["pretrained"], found["fc"], atol=1e-3)
    assert (found["fc"] > 0.55).all()
    assert found["fc"].nunique() == 3, "each draw has its own people"
    table = comparison.summary(found)
    assert not comparison.passes(table)
    right, sentence = control.verdict(table.assign(n_unlabelled=100), informative=True)
    assert not right
    assert sentence.startswith("positive control FAILED with 100 unlabelled scans: AUC 0.")
    assert control.verdict(table.assign(n_unlabelled=100), informative=False)[0]


@pytest.mark.parametrize(
    ("minus_fc", "minus_untrained", "passes"),
    [(0.06, 0.07, True), (0.04, 0.07, False), (0.06, 0.04, False)],
)
def test_both_intervals_must_be_above_the_margin(minus_fc, minus_untrained, passes):
    lows = {"minus_fc_low": [minus_fc], "minus_untrained_low": [minus_untrained]}
    assert comparison.passes(pd.DataFrame({"features": ["pretrained"]} | lows)) is passes


def test_the_largest_cohort_decides():
    row = {f"minus_{r}{end}": 0.2 for r in ("fc", "untrained") for end in ("", "_low", "_high")}
    good = {"features": "pretrained", "auc": 0.8} | row
    bad = good | {"minus_fc_low": -0.1}
    table = pd.DataFrame([good | {"n_unlabelled": 100}, bad | {"n_unlabelled": 1000}])
    assert not control.verdict(table, informative=True)[0]
    table["n_unlabelled"] = [1000, 100]
    assert control.verdict(table, informative=True)[0]


def test_the_figure_names_the_sizes_and_every_line():
    names = ["fc", "untrained", "pretrained"]
    rows = [
        {"features": f, "auc": 0.6, "auc_low": 0.5, "auc_high": 0.7, "n_unlabelled": n}
        for n in (100, 1000)
        for f in names
    ]
    with styled():
        drawn = control.figure(pd.DataFrame(rows), k=5)
        png_of(drawn)
        ticks = [t.get_text() for t in drawn.axes[0].get_xticklabels(which="both")]
    assert [t for t in ticks if t] == ["100", "1,000"]
    shown = [t.get_text() for t in drawn.legends[0].get_texts()]
    assert shown == ["FC", "untrained encoder", "pre-trained encoder"]
