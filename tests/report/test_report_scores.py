import pandas as pd
import pytest

from brainmass_core.encoders.registry import METHODS
from brainmass_core.report.cells import number, p_value, score
from brainmass_core.report.names import kind_of, short_of
from brainmass_core.report.scores import comparison_table, highlight, score_table, verdict
from brainmass_core.tables import read_table


def test_every_method_of_the_configuration_has_a_name():
    for texts in ([m.label for m in METHODS.values()], [m.sentence for m in METHODS.values()]):
        assert len(set(texts)) == len(METHODS)
    assert short_of("untrained_prototype") == "Untrained encoder, nearest class mean"


def test_a_missing_number_is_an_empty_cell_and_sorted_last():
    assert number(None).text == number(float("nan")).text == ""
    assert number(None).sort < number(-1e9).sort
    assert p_value(None).sort > p_value(1.0).sort
    assert p_value(0.0004).text == "< 0.001"
    assert score({"auc": 0.5, "auc_low": None, "auc_high": None}, "auc").interval == ""


@pytest.mark.study
def test_the_page_shows_brier_and_what_stands_beside_the_best_baseline(study, pages):
    path = study.paths.finetune("demo_task") / "metrics.parquet"
    metrics = read_table(path, "metrics").to_pandas()
    rows = {r["Method"]: r for r in score_table(metrics)}
    compared = {r["Method"]: r for r in comparison_table(metrics)}
    for row in metrics.to_dict("records"):
        shown, beside = rows[short_of(row["method"])], compared[short_of(row["method"])]
        brier = "" if pd.isna(row["brier"]) else f"{row['brier']:.2f}"
        assert shown["Brier score"].text == brier
        assert beside["Best baseline"] == short_of(row["best_baseline"])
        assert beside["AUC minus its"].sort == pytest.approx(row["minus_best"], abs=1e-6)
        assert beside["p, shuffled labels"].sort == pytest.approx(row["p_permutation"])
    assert rows["FC, logistic"]["Brier score"].text
    assert 'id="comparison"' in pages["demo_task"]
    assert 'id="figure-calibration"' in pages["demo_task"]


def test_figures_with_room_for_few_show_the_best_of_ours_and_of_the_others():
    metrics = pd.DataFrame(
        {
            "method": ["chance", "fc_svm", "brainmass_svm", "fc_ridge", "brainmass_lora"],
            "auc": [0.9, 0.6, 0.5, 0.7, 0.55],
            "leading": "auc",
        }
    )
    assert highlight(metrics) == ["brainmass_lora", "fc_ridge"]
    assert highlight(metrics.head(1)) == []


def test_the_best_baseline_is_named_unless_it_is_the_fc_that_was_named_already():
    row = {"auc": 0.7, "auc_low": 0.6, "auc_high": 0.8}
    gain = {"auc_minus_fc_svm": 0.0, "auc_minus_fc_svm_low": -0.1, "auc_minus_fc_svm_high": 0.1}
    gain |= {"minus_best": -0.1, "minus_best_low": -0.2, "minus_best_high": -0.01}
    base = {"method": "fc_svm", **row}
    for best, n in (("fc_svm", 1), ("tangent_svm", 2)):
        model = {"method": "brainmass_svm", **row, **gain, "best_baseline": best}
        said = verdict(pd.DataFrame([base, model]))
        assert len(said) == n
    assert "worse than the best baseline (Tangent FC, SVM)" in said[1]


def test_a_gain_whose_interval_is_unknown_is_neither_better_nor_the_same():
    nan = float("nan")
    row = {"auc": 0.7, "auc_low": nan, "auc_high": nan}
    gain = {f"auc_minus_fc_svm{end}": v for end, v in (("", 0.2), ("_low", nan), ("_high", nan))}
    base = {"method": "fc_svm", **row}
    confounds = {"method": "confounds_svm", **row}
    said = " ".join(
        verdict(pd.DataFrame([base, confounds, {"method": "brainmass_svm", **row, **gain}]))
    )
    assert "cannot be compared with the baseline (difference +0.20 (interval unknown))" in said
    assert "nan" not in said
    assert "distinguishable" not in said
    assert "Confounds alone" not in said


@pytest.mark.parametrize(("n", "kind"), [(0, "regression"), (2, "binary"), (3, "several")])
def test_the_kind_of_a_task_follows_from_its_classes(n, kind):
    assert kind_of(range(n)) == kind
