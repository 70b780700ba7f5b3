"""Zero-shot: only features of the target are used, and no target scan was used in training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from marked_scans import marked
from synthetic_study import make_config, of_two_cohorts

from brainmass_core.config import ConfigError, parse_config
from brainmass_core.config.adaptation import ZeroShot
from brainmass_core.config.tasks import Task
from brainmass_core.finetune import LeakError, TaskError
from brainmass_core.finetune.zero_shot import refuse_seen, site_centred, transfer

N_FEATURES = 60


def cohort(n=80, effect=1.5, seed=0, dataset="here", shift=0.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    features = rng.standard_normal((n, N_FEATURES)) + shift
    features[:, :8] += effect * y[:, None]
    scans = pd.DataFrame(
        {
            "scan_id": [f"{dataset}_s{i:02d}" for i in range(n)],
            "dataset": dataset,
            "participant_id": [f"{dataset}-{i:02d}" for i in range(n)],
            "participant": [f"{dataset}/{dataset}-{i:02d}" for i in range(n)],
            "bold_path": [f"/data/{dataset}/{i:02d}.npy" for i in range(n)],
            "bold_key": None,
            "site": np.where(np.arange(n) % 4 < 2, "north", "south"),
            "y": y,
        }
    )
    return features, marked(scans)


def carried(effect=1.5, settings=None, shift=0.0):
    (a, source), (b, target) = (
        cohort(effect=effect),
        cohort(n=120, effect=effect, seed=1, dataset="there", shift=shift),
    )
    return transfer({"fc": (a, b)}, source, target, settings or ZeroShot())


def test_a_difference_that_both_cohorts_have_carries_over():
    rows, predictions = carried()
    assert set(rows["method"]) == {"fc_svm", "fc_logistic", "fc_prototype", "fc_knn"}
    assert (rows["auc"] > 0.85).all()
    assert (rows["auc_low"] > 0.5).all()
    assert (rows["n_train_participants"] == 80).all()
    assert (rows["n_test_participants"] == 120).all()
    assert len(predictions) == 4 * 120


def test_without_a_difference_nothing_carries_over():
    rows, _ = carried(effect=0.0)
    assert ((rows["auc_low"] <= 0.5) & (rows["auc_high"] >= 0.5)).all()


def test_labels_of_the_target_score_and_do_nothing_else():
    (a, source), (b, target) = cohort(), cohort(n=120, seed=1, dataset="there")
    flipped = target.assign(y=1 - target["y"])
    rows, predictions = transfer({"fc": (a, b)}, source, target, ZeroShot())
    other_rows, other = transfer({"fc": (a, b)}, source, flipped, ZeroShot())
    assert predictions["y_scores"].tolist() == other["y_scores"].tolist()
    np.testing.assert_allclose(rows["auc"], 1 - other_rows["auc"])


def test_scans_of_the_target_do_not_touch_each_other_unless_harmonised():
    (a, source), (b, target) = cohort(), cohort(n=120, seed=1, dataset="there")
    changed = b.copy()
    changed[1:] += 3 * np.arange(N_FEATURES)
    for harmonise, same in (("none", True), ("site_mean", False)):
        settings = ZeroShot(harmonise=harmonise, classifiers=["svm"])
        first, second = (
            transfer({"fc": (a, x)}, source, target, settings)[1]["y_scores"].iloc[0][0]
            for x in (b, changed)
        )
        assert bool(first == pytest.approx(second, rel=1e-6)) is same


def test_site_means_take_away_a_shift_of_the_target():
    plain = carried(shift=2.0)[0].set_index("method")
    centred = carried(shift=2.0, settings=ZeroShot(harmonise="site_mean"))[0].set_index("method")
    assert plain.loc["fc_svm", "balanced_accuracy"] < 0.7
    assert centred.loc["fc_svm", "balanced_accuracy"] > 0.8
    features, scans = cohort(shift=5.0)
    means = pd.DataFrame(site_centred(features, scans)).groupby(scans["site"]).mean()
    np.testing.assert_allclose(means, 0, atol=1e-12)


def test_participants_on_both_sides_and_scans_that_were_pre_trained_on_are_refused():
    _, source = cohort()
    _, target = cohort(dataset="there")
    none = source.iloc[:0]
    refuse_seen(source, target, none)
    with pytest.raises(LeakError, match="here_s03"):
        refuse_seen(source, pd.concat([target, source.iloc[[3]]]), none)
    with pytest.raises(LeakError, match="1 scans of the target were used for pre-training"):
        refuse_seen(source, target, target.iloc[[5]])
    renamed = target.iloc[[5]].assign(scan_id="other_name", person="other")
    with pytest.raises(LeakError, match="there_s05"):
        refuse_seen(source, target, renamed)
    with pytest.raises(LeakError, match=r"there_s05 \(the same file as other_name\)"):
        refuse_seen(pd.concat([source, renamed.assign(participant="x/y")]), target, none)
    with pytest.raises(LeakError, match="no column person"):
        refuse_seen(source, target.drop(columns="person"), none)


def test_the_same_id_in_two_cohorts_is_refused():
    _, source = cohort()
    _, target = cohort(dataset="there")
    target.loc[4, "person"] = source["person"].iloc[0]
    with pytest.raises(LeakError, match=r"there_s04 \(the same participant as here_s00\)"):
        refuse_seen(source, target, source.iloc[:0])


def test_features_of_another_atlas_are_refused():
    (a, source), (b, target) = cohort(), cohort(dataset="there")
    with pytest.raises(TaskError, match=r"found 60 features .* in the source and 50 in the target"):
        transfer({"fc": (a, b[:, :50])}, source, target, ZeroShot())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("unseen", "a task cannot be its own source"),
        ("demo_tusk", "there is no task 'demo_tusk'; did you mean 'demo_task'"),
        (["replication"], "'replication' is among the task's data sets"),
        (["damo"], "there is no data set 'damo'; did you mean 'demo'"),
    ],
)
def test_a_source_that_cannot_be_one_is_refused_before_anything_runs(tmp_path, source, message):
    with pytest.raises(ValueError, match=message):
        of_two_cohorts(make_config(tmp_path), source)


def test_motion_that_goes_with_the_diagnosis_in_the_source_does_not_carry_over():
    # labels of the target follow the features; those of the source follow motion alone
    (a, source), (b, target) = cohort(n=200, effect=0.0), cohort(n=200, effect=0.0, dataset="there")
    rng = np.random.default_rng(5)
    for scans in (source, target):
        scans["sex"], scans["age"] = "F", 30.0
        scans["mean_fd"] = rng.exponential(0.2, 200)
    source["mean_fd"] += 0.5 * source["y"]
    direction = rng.standard_normal(N_FEATURES)
    a = a + 3 * source[["mean_fd"]].to_numpy() * direction
    b = b + 3 * target[["mean_fd"]].to_numpy() * direction
    target["y"] = (target["mean_fd"] > target["mean_fd"].median()).astype(int)
    task = Task(datasets=["x"], label="dx", classes={"c": ["1"], "p": ["2"]}, confounds="regress")
    plain = transfer({"fc": (a, b)}, source, target, ZeroShot())[0].set_index("method")
    cleaned = transfer({"fc": (a, b)}, source, target, ZeroShot(), task)[0].set_index("method")
    assert plain.loc["fc_svm", "auc"] > 0.8
    assert abs(cleaned.loc["fc_svm", "auc"] - 0.5) < 0.15


def test_a_perfect_transfer_still_has_an_interval():
    rows, _ = carried(effect=30.0)
    assert (rows["auc"] == 1).all()
    assert rows["auc_low"].to_numpy() == pytest.approx(60 / (60 + 1.959964**2))
    assert (rows["auc_high"] == 1).all()


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"kind": "regression", "classes": {}}, "zero-shot only transfers classes.*cross_cohort"),
        (
            {"confounds": "combat"},
            "cannot adjust sites of an unseen cohort.*regress or match.*site_mean",
        ),
    ],
)
def test_what_zero_shot_cannot_do_is_refused_with_the_configuration(tmp_path, over, message):
    raw = make_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    raw["datasets"]["far"] = raw["datasets"]["demo"] | {"role": "external"}
    raw["tasks"]["unseen"] = raw["tasks"]["demo_task"] | over
    raw["tasks"]["unseen"] |= {"datasets": ["far"], "zero_shot_from": ["demo"]}
    with pytest.raises(ConfigError, match=message):
        parse_config(raw)


def test_learning_curves_of_regressions_alone_are_refused_with_the_configuration(tmp_path):
    config = make_config(tmp_path, kind="regression", classes={})
    raw = config.model_dump(mode="json", exclude_unset=True) | {"few_shot": {"shots": [4]}}
    with pytest.raises(ConfigError, match=r"few_shot\.shots.*all tasks are regressions"):
        parse_config(raw)
    task = raw["tasks"]["demo_task"]
    both = task | {"kind": "classification", "classes": {"a": ["1"], "b": ["2"]}}
    parse_config(raw | {"tasks": raw["tasks"] | {"dx": both}})
