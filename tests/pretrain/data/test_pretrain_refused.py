"""Pre-training without a data set of which too many scans failed."""

from __future__ import annotations

import logging

import pytest
import torch

from brainmass_core.finetune.cohort.leaks import scans_shown
from brainmass_core.pipeline.failed_fraction import NoDatasetError
from brainmass_core.pipeline.manifest import Entry, write_manifest
from brainmass_core.pretrain.artefacts import describe
from brainmass_core.pretrain.data.views import index_shards, scans_seen
from brainmass_core.pretrain.loop.checkpoint import State
from brainmass_core.pretrain.markdown import sources_table
from brainmass_core.pretrain.model_specs import model_spec_of


def fail(study, name: str, n_failed: int, n_ok: int, stage: str = "timeseries") -> None:
    fates = ["failed"] * n_failed + ["ok"] * n_ok
    entries = [Entry(stage, name, 0, f"{name}{i:03}", s, "gone") for i, s in enumerate(fates)]
    write_manifest(study.paths.manifest(stage, name, 0), entries, "hash")


@pytest.mark.parametrize("knobs", [{}, {"source": "timeseries"}, {"model": "brainlm-tiny"}])
def test_a_data_set_above_the_limit_contributes_nothing_and_is_recorded(make_study, caplog, knobs):
    study = make_study(**knobs)
    whole = index_shards(study.config)
    fail(study, "b", 5, 5)
    assert index_shards(study.config).fingerprint == whole.fingerprint, "half of them may fail"
    fail(study, "b", 6, 5)
    with caplog.at_level(logging.WARNING):
        index = index_shards(study.config)
    assert {s.dataset for s in index.sources} == {"a"}
    assert {s for g in index.groups for s in g.scan_ids} == {
        s for g in whole.groups for s in g.scan_ids if s.startswith("a")
    }
    assert index.fingerprint != whole.fingerprint, "its checkpoints would be resumed"
    assert "b: 6 of 11 scans failed in timeseries" in caplog.text
    assert "Not used: b: 6 of 11 scans failed" in sources_table(index)
    spec = model_spec_of(study.config.pretrain)
    model = spec.build(study.config, index.n_rois)
    constants = spec.constants(study.config, index)
    state = State(1, 1, 4, model.state_dict(), {}, torch.zeros(1, 1), constants)
    about = describe(study.config, index, state, model)
    assert list(about["refused"]) == ["b"]
    assert "gone" in about["refused"]["b"]


def test_tasks_do_not_take_its_scans_for_scans_that_the_model_has_seen(make_study):
    study = make_study()
    assert scans_seen(study.config, "b")
    fail(study, "b", 6, 5)
    assert scans_seen(study.config, "b") == set()
    assert set(scans_shown(study.config)["scan_id"].str[0]) == {"a"}


def test_pre_training_without_any_data_set_left_is_an_error(make_study):
    study = make_study()
    for name in ("a", "b"):
        fail(study, name, 2, 1, "pfc")
    for batch in (1, 2):
        write_manifest(study.paths.manifest("pfc", "a", batch), [], "hash")
    with pytest.raises(NoDatasetError, match=r"pre-training: .*every data set"):
        index_shards(study.config)
