"""What a deployed model requires of its inputs, for the readers that compare with it."""

from __future__ import annotations

from typing import Any

from brainmass_core.predict import Contract

VALUES: dict[str, Any] = {
    "task": "t",
    "kind": "classification",
    "label": "dx",
    "classes": ["a", "b"],
    "transform": "none",
    "method": "fc_svm",
    "features": "fc",
    "encoder": None,
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
ATLAS = {"name": "rings", "configured": "rings", "space": "MNI152NLin6Asym", "sha256": "0"}


def contract(parcels: str, **over: Any) -> Contract:
    """A contract whose parcels have names of one letter; `over` replaces fields."""
    table = [{"index": i, "name": name} for i, name in enumerate(parcels, 1)]
    atlas = ATLAS | {"approximate": False, "table": table}
    return Contract.model_validate(VALUES | {"atlas": atlas} | over)
