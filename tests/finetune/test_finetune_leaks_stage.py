"""Leaks planted in the tables or in the folds stop every part of the stage that could profit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_study import add_to_shards, write_corpus, write_two_cohorts

from brainmass_core.config.adaptation import FewShot
from brainmass_core.config.tasks import Task
from brainmass_core.finetune import (
    LeakError,
    few_shot,
    parts,
    run,
    run_few_shot,
    run_zero_shot,
    stage,
)
from brainmass_core.finetune.few_shot import learning_curves
from brainmass_core.finetune.folds import Fold, make_folds
from brainmass_core.finetune.leaks import refuse_leaks
from brainmass_core.finetune.protocols import leave_one_site_out

PARTS = {
    "score": (run, "demo_task"),
    "few-shot": (run_few_shot, "demo_task"),
    "zero-shot": (run_zero_shot, "unseen"),
    "cross_cohort": (run, "across"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_tested_file_that_pretraining_knew_by_another_name_stops_every_part(tmp_path, part):
    study = write_two_cohorts(tmp_path)
    runs, task = PARTS[part]
    runs(study.config, task)  # nothing planted, nothing refused
    first = part in ("score", "few-shot")
    write_corpus(study.paths, "/data/s05.npy" if first else "/replication/data/s05.npy")
    found = "demo_s05_run-0" if first else "replication_s05_run-0"
    with pytest.raises(LeakError, match=found):
        runs(study.config, task)


@pytest.mark.parametrize("part", ["score", "few-shot"])
def test_another_scan_of_a_tested_participant_in_the_shards_stops_the_part(tmp_path, part):
    # the task takes first runs only, so that no scan of the task itself is in the shards
    study = write_two_cohorts(tmp_path, runs=2, exclude="scan_id.str.endswith('run-1')")
    runs, task = PARTS[part]
    runs(study.config, task)
    add_to_shards(study, "demo_s05_run-1")
    with pytest.raises(LeakError, match=r"other scans of the same participants.*demo_s05_run-0"):
        runs(study.config, task)


@pytest.mark.parametrize(("part", "module"), [("score", stage), ("few-shot", parts)])
def test_a_second_scan_across_a_fold_stops_the_part(tmp_path, monkeypatch, part, module):
    study = write_two_cohorts(tmp_path, runs=2)
    original = module.protocol_folds

    def planted(scans, *rest):
        first, *others = original(scans, *rest)
        moved, kept = first.test[:1], first.test[1:]  # its second scan stays behind
        return [replace(first, train=np.append(first.train, moved), test=kept), *others]

    monkeypatch.setattr(module, "protocol_folds", planted)
    runs, task = PARTS[part]
    with pytest.raises(LeakError, match="both sides"):
        runs(study.config, task)


def test_the_same_file_in_two_cohorts_is_no_test(people):
    twin = people.assign(
        dataset="copy", scan_id="copy_" + people["scan_id"], split="test",
        participant="copy/" + people["participant_id"],
    )  # fmt: skip
    both = pd.concat([people.assign(split="test"), twin], ignore_index=True)
    fold = Fold(0, 0, np.arange(120), np.arange(120, 240))
    with pytest.raises(LeakError, match="120 tested scans are files that are trained on as well"):
        refuse_leaks(both, [fold], people.iloc[:0])


def test_a_scan_that_a_tested_participant_has_at_another_site_is_not_tested(people):
    # trained on are others of site c: its scan there would not be new to the model
    people.loc[people["scan_id"] == "s01_run-1", "site"] = "c"
    folds = leave_one_site_out(people, 1)
    tested = people.iloc[np.concatenate([f.test for f in folds])]
    assert "s01_run-0" in set(tested["scan_id"])
    assert "s01_run-1" not in set(tested["scan_id"])
    for f in folds:
        assert not set(people["site"].iloc[f.test]) & set(people["site"].iloc[f.train])


def few_shot_cohort():
    rng = np.random.default_rng(0)
    n = 60
    scans = pd.DataFrame(
        {
            "scan_id": [f"s{i:02d}" for i in range(n)],
            "dataset": "here",
            "participant": [f"here/p{i:02d}" for i in range(n)],
            "y": np.arange(n) % 2,
            "site": np.where(np.arange(n) // 2 % 2, "north", "south"),
            "sex": "F",
            "age": rng.uniform(10, 60, n),
            "mean_fd": rng.exponential(0.2, n),
            "split": "test",
        }
    )
    return rng.standard_normal((n, 30)) + (scans["site"] == "north").to_numpy()[:, None], scans


def first_fold_curve(features, scans, handling):
    """AUC rows of a fold, of which all tested scans but two are changed afterwards."""
    fold = make_folds(few_shot_cohort()[1], 3, 1, seed=0)[0]
    task = Task(datasets=["here"], label="dx", classes={"a": ["1"], "b": ["2"]}, confounds=handling)
    s = FewShot(shots=[8], n_draws=2, classifiers=["svm"])
    scores = []
    original = few_shot.classify

    def spy(*arguments):
        found = original(*arguments)
        scores.append(found[0])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few_shot, "classify", spy)
        learning_curves({"fc": features}, scans, [fold], s, 0, task)
    return fold, np.array(scores)


def few_shot_score_moves(handling) -> bool:
    features, scans = few_shot_cohort()
    fold, before = first_fold_curve(features, scans, handling)
    changed, others = features.copy(), fold.test[1:]
    changed[others] *= -3
    other = scans.copy()
    other.loc[others, ["age", "mean_fd"]] = 500.0
    _, after = first_fold_curve(changed, other, handling)
    assert not np.allclose(before[:, 1:], after[:, 1:]), "the change must matter"
    return not np.allclose(before[:, 0], after[:, 0], rtol=1e-7)


@pytest.mark.parametrize("handling", ["none", "regress", "combat", "match"])
def test_no_confound_handling_of_few_shots_looks_at_other_tested_scans(handling):
    assert not few_shot_score_moves(handling)


def test_a_few_shot_harmoniser_that_saw_the_tested_scans_is_found(monkeypatch):
    def leaky(values, scans, f, task):
        everybody = replace(f, train=np.arange(len(scans)))
        return original(values, scans, everybody, task)

    original = few_shot._adjusted
    monkeypatch.setattr(few_shot, "_adjusted", leaky)
    assert few_shot_score_moves("combat")
    assert few_shot_score_moves("regress")
