"""Names of methods, metrics and quality measures on the pages."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any

from brainmass_core.encoders.registry import FEATURES, METHODS

FEW_ESTIMATORS = {
    "svm": "linear SVM",
    "logistic": "logistic regression",
    "prototype": "nearest class mean",
    "knn": "k-NN",
}
BINARY = {
    "auc": "AUC",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1",
    "brier": "Brier score",
}
SEVERAL = {
    "auc": "AUC, one against the rest",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "f1": "F1, mean of the classes",
    "brier": "Brier score",
}
REGRESSION = {"r2": "R2", "mse": "MSE", "mae": "MAE", "pearson_r": "Pearson r"}
METRICS = {"binary": BINARY, "several": SEVERAL, "regression": REGRESSION}
LEADING = {"binary": "AUC", "several": "AUC", "regression": "R2"}
QUALITY = {
    "mean_fd": "Mean framewise displacement (mm)",
    "n_volumes_censored": "Volumes above the motion threshold",
    "std_dvars": "Standardised DVARS",
    "tsnr": "Temporal SNR",
    "mask_dice": "Dice of brain mask and template",
    "template_correlation": "Correlation of T1w and template",
    "coregistration_cost": "Coregistration cost",
    "coregistration_sharpness": "Coregistration sharpness",
    "n_timepoints": "Timepoints",
    "residual_dof": "Residual degrees of freedom",
    "n_empty_rois": "Empty parcels",
}
# by the input of a method; Okabe and Ito's palette for colour-blind readers
COLOURS = {
    "chance": "#999999",
    "confounds": "#E69F00",
    "fc": "#0072B2",
    "tangent": "#56B4E9",
    "brainnetcnn": "#009E73",
    "transformer": "#009E73",
    "untrained": "#CC79A7",
    "series": "#000000",
}
LINES: dict[str, Any] = {
    "svm": "-",
    "logistic": "--",
    "ridge": ":",
    "knn": "-.",
    "transformer": "--",
    "finetune": (0, (6, 2)),
    "lora": (0, (1, 1)),
}
READOUT_LINES: dict[str, Any] = {
    "tokens": (0, (3, 1, 1, 1)),
    "beside_fc": (0, (8, 2)),
    "projection": (0, (5, 1, 1, 1, 1, 1)),
}


def kind_of(classes: Sized) -> str:
    """Kind of a task by its classes: ``binary``, ``several`` or ``regression``."""
    return {0: "regression", 2: "binary"}.get(len(classes), "several")


def sees(method: str) -> str:
    """Input of a method, by the name of its features; networks on FC form their own group.

    Also accepts the features of few-shot and zero-shot.
    """
    if method not in METHODS:
        return method
    m = METHODS[method]
    return m.estimator.name if m.estimator.alone else m.features.name


def colour_of(method: str) -> str:
    """Colour by the input of the method or features."""
    seen = sees(method)
    if seen in COLOURS:
        return COLOURS[seen]
    known = FEATURES.get(seen)
    if known is None or known.encoder is None:
        return "black"
    return known.encoder.pages.colour if known.pretrained else COLOURS["untrained"]


def line_of(method: str) -> Any:
    """Line style by the readout of the encoder, if it is not the embedding, or the estimator."""
    m = METHODS[method]
    return READOUT_LINES.get(m.features.readout, LINES.get(m.estimator.name, "-"))


def short_of(method: str) -> str:
    """Name of a method in tables and figures, including few-shot and zero-shot methods."""
    if method in METHODS:
        return METHODS[method].label
    features, classifier = few_shot_parts(method)
    return f"{FEATURES[features].label}, {FEW_ESTIMATORS[classifier]}"


def few_shot_parts(method: str) -> tuple[str, str]:
    """Names of features and classifier of a few-shot or zero-shot method."""
    return {f"{f}_{c}": (f, c) for f in FEATURES for c in FEW_ESTIMATORS}[method]


def listed(methods: Iterable[str]) -> dict[str, Any]:
    """Variables about a task's methods for the template of the methods text."""
    known = [METHODS[m] for m in methods]
    return {
        "methods": [{"Method": m.label, "Input": m.sentence} for m in known],
        "features": {m.features.name for m in known},
        "estimators": {m.estimator.name for m in known},
        "networks": any(m.estimator.is_network for m in known),
    }
