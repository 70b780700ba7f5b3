"""Leaks planted in the tables or in the folds stop every part of the stage that could profit."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_study import add_to_shards, write_corpus, write_two_cohorts

from brainmass_core.finetune import (
    LeakError,
    evaluation,
    run,
    run_few_shot,
    run_zero_shot,
)
from brainmass_core.finetune.cohort.dataset import assemble

pytestmark = pytest.mark.study

PARTS = {
    "score": (run, "demo_task"),
    "few-shot": (run_few_shot, "demo_task"),
    "zero-shot": (run_zero_shot, "unseen"),
    "cross_cohort": (run, "across"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_tested_file_that_pretraining_knew_by_another_name_stops_every_part(tmp_path, part):
    study = write_two_cohorts(tmp_path, methods=("chance",))
    runs, task = PARTS[part]
    runs(study.config, task)  # without a leak nothing is refused
    first = part in ("score", "few-shot")
    write_corpus(study.paths, "/data/s05.npy" if first else "/replication/data/s05.npy")
    found = "demo_s05_run-0" if first else "replication_s05_run-0"
    with pytest.raises(LeakError, match=found):
        runs(study.config, task)


COPIES = {
    "id": lambda row: {"participant_id": row["participant_id"]},
    "bytes": lambda row: {"source_checksum": row["source_checksum"]},
    "series": lambda row: {"series_fingerprint": row["series_fingerprint"]},
}


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("part", PARTS)
def test_one_person_or_recording_in_another_data_set_stops_every_part(tmp_path, part, copied):
    study = write_two_cohorts(tmp_path, methods=("chance",))
    runs, task = PARTS[part]
    where = "demo" if part in ("score", "few-shot") else "replication"
    tested = assemble(study.config, task).scans.set_index("scan_id").loc[f"{where}_s05_run-0"]
    write_corpus(study.paths, "/corpus/x.npy", **COPIES[copied](tested))
    with pytest.raises(LeakError, match=rf"{where}_s05_run-0 \(.* as corpus_x\)"):
        runs(study.config, task)
    if copied == "id":
        allowed = study.config.model_copy(update={"allow_same_ids": [tested["participant_id"]]})
        runs(allowed, task)


@pytest.mark.parametrize("part", ["score", "few-shot"])
def test_another_scan_of_a_tested_participant_in_the_shards_stops_the_part(tmp_path, part):
    # the task takes first runs only, so that no scan of the task itself is in the shards
    second_runs = "scan_id.str.endswith('run-1')"
    study = write_two_cohorts(tmp_path, runs=2, methods=("chance",), exclude=second_runs)
    runs, task = PARTS[part]
    runs(study.config, task)
    add_to_shards(study, "demo_s05_run-1")
    with pytest.raises(LeakError, match=r"demo_s05_run-0 \(the same participant.*folders pfc"):
        runs(study.config, task)


@pytest.mark.parametrize("part", ["score", "few-shot"])
def test_a_second_scan_across_a_fold_stops_the_part(tmp_path, monkeypatch, part):
    study = write_two_cohorts(tmp_path, runs=2)
    original = evaluation.protocol_folds

    def planted(scans, *rest):
        first, *others = original(scans, *rest)
        moved, kept = first.test[:1], first.test[1:]  # its second scan is not moved
        return [replace(first, train=np.append(first.train, moved), test=kept), *others]

    monkeypatch.setattr(evaluation, "protocol_folds", planted)
    runs, task = PARTS[part]
    with pytest.raises(LeakError, match="both sides"):
        runs(study.config, task)
