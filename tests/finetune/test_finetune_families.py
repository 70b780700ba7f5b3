"""Networks as methods of a task: on the folds of all others, from the model of the study."""

from __future__ import annotations

import pytest
from synthetic_study import Study, write_model, write_study

from brainmass_core.config import parse_config
from brainmass_core.finetune import TaskError, run
from brainmass_core.finetune.estimators import Setting
from brainmass_core.finetune.families import PRETRAINED, RECIPES, make_network
from brainmass_core.finetune.methods import METHODS
from brainmass_core.finetune.networks import FineTune
from brainmass_core.tables import read_table

QUICK = {"max_epochs": 4, "finetune_lr": 3e-3, "lora_lr": 3e-3, "brainnetcnn_maps": 4}


def study_of(tmp_path, methods, **settings) -> Study:
    study = write_study(tmp_path, methods=methods, runs=2, **settings)
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["neural"] = QUICK | {"brainnetcnn_lr": 2e-3, "transformer_lr": 2e-3}
    return Study(parse_config(raw), study.scans)


def test_networks_are_scored_on_the_folds_of_all_others_and_find_a_planted_difference(tmp_path):
    study = study_of(tmp_path, ("fc_svm", *RECIPES), protocol={"n_splits": 3, "n_repeats": 1})
    write_model(study)
    run(study.config, "demo_task")
    folder = study.paths.finetune("demo_task")
    table = read_table(folder / "predictions.parquet", "predictions").to_pandas()
    keys = ["repeat", "fold", "scan_id", "y_true", "n_train"]
    parts = {m: t[keys].reset_index(drop=True) for m, t in table.groupby("method")}
    assert set(parts) == {"fc_svm", *RECIPES}
    for part in parts.values():
        assert part.equals(parts["fc_svm"])
    metrics = read_table(folder / "metrics.parquet", "metrics").to_pandas().set_index("method")
    assert (metrics["auc"] > 0.7).all(), metrics["auc"]


def test_only_what_starts_from_the_model_is_no_baseline():
    assert {m for m in RECIPES if not METHODS[m].baseline} == set(PRETRAINED)


def test_a_model_of_other_fc_is_not_fine_tuned(tmp_path):
    study = study_of(tmp_path, ("brainmass_lora",))
    write_model(study, estimator="ledoit_wolf")
    with pytest.raises(TaskError, match="the model has 'ledoit_wolf'"):
        run(study.config, "demo_task")


def test_settings_reach_the_network(tmp_path):
    config = study_of(tmp_path, ("brainnetcnn",)).config
    model = make_network("untrained_finetune", Setting("classification", 2, 11, config=config))
    assert model.max_epochs == 4
    assert model.random_state == 11
    assert model.recipe == FineTune(None, "tiny", None, 7, lr=3e-3)
    with pytest.raises(ValueError, match="expected a configuration"):
        make_network("brainnetcnn", Setting("classification", 2, 11))
