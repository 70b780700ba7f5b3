"""Networks as methods of a task: they use the folds of all other methods, and the model of the
study.
"""

from __future__ import annotations

import pytest
from synthetic_study import Study, write_model, write_study

from brainmass_core.config import parse_config
from brainmass_core.finetune import TaskError, run
from brainmass_core.finetune.methods.network_estimators import RECIPES
from brainmass_core.tables import read_table

pytestmark = pytest.mark.study

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


def test_a_model_of_other_fc_is_not_fine_tuned(tmp_path):
    study = study_of(tmp_path, ("brainmass_lora",))
    write_model(study, estimator="ledoit_wolf")
    with pytest.raises(TaskError, match="the model has 'ledoit_wolf'"):
        run(study.config, "demo_task")
