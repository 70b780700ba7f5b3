"""How the tests of `predict` make models of a study."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from synthetic_study import Study

from brainmass_core.config import dump_config, parse_config
from brainmass_core.finetune.evaluation import Evaluation
from brainmass_core.finetune.methods.fitting import Fitted
from brainmass_core.predict import Contract, Model
from brainmass_core.predict.deploy import fit_all
from brainmass_core.predict.deploy import write_model as store

TASK = "demo_task"


def with_settings(study: Study, **sections: object) -> Study:
    """The same study under another configuration; lists and values are replaced."""
    raw = study.config.model_dump(mode="json")
    for name, values in sections.items():
        raw[name] = raw[name] | values if isinstance(raw.get(name), dict) else values
    return Study(parse_config(raw), study.scans)


class Made(NamedTuple):
    """A method fitted to all labelled scans: as it is stored, and as it was fitted."""

    model: Model
    fitted: Fitted


def fit(study: Study, method: str) -> Made:
    """A method fitted to all labelled scans of a study."""
    scores = {method: {"auc": 0.5, "auc_low": None, "auc_high": None}}
    return Made(*fit_all(Evaluation.load(study.config, TASK), method, scores))


def publish(study: Study, folder: Path, model: Model) -> Path:
    """The folder with the model in it, and the configuration beside the results."""
    store(folder, model)
    (study.config.results / "config.yaml").write_text(dump_config(study.config))
    return folder


def a_contract(**over: object) -> Contract:
    """A contract of two parcels; `over` replaces fields."""
    values: dict = {
        "task": "t",
        "kind": "classification",
        "label": "dx",
        "classes": ["a", "b"],
        "transform": "none",
        "method": "fc_svm",
        "features": "fc",
        "encoder": None,
        "atlas": {
            "name": "rings",
            "configured": "rings",
            "space": "MNI152NLin6Asym",
            "sha256": "0",
            "approximate": False,
            "table": [{"index": 1, "name": "x"}, {"index": 2, "name": "y"}],
        },
        "connectivity": {},
        "timeseries": {},
        "preprocess": {},
        "processing": {"timeseries": [{"band_pass": False}]},
        "done": [{}],
        "t_r": (2.0, 2.5),
        "confounds": "none",
        "confound_columns": [],
        "sites": [],
        "n_participants": 3,
        "n_scans": 3,
        "n_per_class": {"a": 1, "b": 2},
        "protocol": "repeated_kfold",
        "scores": {},
        "probe": [[0.0, 1.0]],
        "config_hash": "x",
        "versions": {},
        "files": {},
    }
    return Contract.model_validate(values | over)
