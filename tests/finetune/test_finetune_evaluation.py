"""The loader of a task's evaluation: only what is requested is computed or refused."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_study import add_to_shards, copy_of, write_study

from brainmass_core.finetune import LeakError
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.finetune.evaluation import Evaluation, task_seed
from brainmass_core.finetune.folds.protocols import protocol_folds

pytestmark = pytest.mark.study


def test_folds_are_those_of_the_protocol_by_the_seed_of_the_task(finished):
    e = Evaluation.load(finished.config, "demo_task")
    data = assemble(finished.config, "demo_task")
    protocol = finished.config.tasks["demo_task"].protocol
    seed = task_seed(finished.config, "demo_task")
    expected = protocol_folds(data.scans, protocol, seed, "demo_task")
    for mine, theirs in zip(e.folds, expected, strict=True):
        np.testing.assert_array_equal(mine.train, theirs.train)
        np.testing.assert_array_equal(mine.test, theirs.test)
    np.testing.assert_array_equal(e.design.y, data.scans["y"])
    assert e.folds is e.folds
    assert e.unadjusted is None


def test_a_leak_is_refused_when_folds_are_asked_for_and_not_before(finished, tmp_path):
    study = copy_of(finished, tmp_path)
    tested = study.scans.query("split == 'test' and participant_id == 's05'")["scan_id"]
    add_to_shards(study, tested.iloc[0])
    e = Evaluation.load(study.config, "demo_task")
    assert e.design.kind == "classification"
    with pytest.raises(LeakError, match="pre-training used"):
        _ = e.folds


def test_shuffled_labels_are_those_of_the_loader_and_said(tmp_path, caplog):
    study = write_study(tmp_path)
    plain = Evaluation.load(study.config, "demo_task").data.scans
    shuffling = study.config.finetune.model_copy(update={"permute_labels": True})
    config = study.config.model_copy(update={"finetune": shuffling})
    found, again = (Evaluation.load(config, "demo_task").data.scans for _ in range(2))
    assert "labels are shuffled" in caplog.text
    assert (found["y"] != plain["y"]).any()
    assert found["y"].equals(again["y"])
