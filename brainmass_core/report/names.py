"""What methods, metrics and quality measures are called on the pages."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

from brainmass_core.encoders.registry import Encoder, encoders, owner_of


@dataclass(frozen=True)
class Name:
    """A method on the pages.

    Attributes
    ----------
    short : str
        In figures and tables.
    long : str
        One sentence that says what it sees and how it decides.
    """

    short: str
    long: str


METHODS = {
    "chance": Name("Chance", "A class drawn with the proportions of the training scans."),
    "confounds_svm": Name(
        "Confounds",
        "Site, age, sex and mean framewise displacement alone, no brain signal; SVM with radial "
        "kernel, C = 1.",
    ),
    "fc_svm": Name(
        "FC",
        "All edges of the FC matrix, standardised; SVM with linear kernel, C = 1.",
    ),
}
METHODS["series_svm"] = Name(
    "Raw series",
    "The first window of each recording, scaled as the model is fed it, as up to 200 principal "
    "components of the training scans; SVM with radial kernel, C = 1.",
)
_FEATURES = {
    "confounds": ("Confounds", "Site, age, sex and mean framewise displacement alone"),
    "fc": ("FC", "All edges of the FC matrix"),
    "tangent": ("Tangent FC", "FC in the tangent space at the training scans' geometric mean"),
    "series": ("Raw series", "The first window of each recording, scaled as the model is fed it"),
}
_ESTIMATORS = {
    "svm": ("SVM", "SVM, C = 1"),
    "logistic": ("logistic", "logistic regression, its penalty chosen within the training set"),
    "ridge": ("ridge", "ridge regression, its penalty chosen within the training set"),
    "knn": ("k-NN", "nearest neighbours, their number chosen within the training set"),
}


def _frozen(features: str, short: str, what: str) -> dict[str, Name]:
    """Methods of an estimator on features."""
    return {
        f"{features}_{estimator}": Name(f"{short}, {how}", f"{what}, standardised; {fitted}.")
        for estimator, (how, fitted) in _ESTIMATORS.items()
    }


for _key, (_short, _what) in _FEATURES.items():
    METHODS = _frozen(_key, _short, _what) | METHODS
METHODS |= {
    "brainnetcnn": Name(
        "BrainNetCNN", "All of FC, by a convolutional network trained in every fold."
    ),
    "transformer": Name("BNT", "All of FC, by a Brain Network Transformer trained in every fold."),
}


def _of_encoder(encoder: Encoder) -> dict[str, Name]:
    found: dict[str, Name] = {}
    for key, (short, what) in encoder.pages.features.items():
        found |= _frozen(key, short, what)
    return found | {name: Name(*texts) for name, texts in encoder.pages.methods.items()}


def method_name(method: str) -> Name:
    """What a method of a task is called."""
    owner = owner_of(method)
    return METHODS[method] if owner is None else _of_encoder(owner)[method]


def feature_name(features: str) -> str:
    """What features are called in figures and tables."""
    owner = owner_of(features)
    return (owner.pages.features if owner else _FEATURES)[features][0]


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
# Okabe and Ito's palette, told apart by colour-blind readers: what a method sees
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


def kind_of(classes: Sized) -> str:
    """``binary``, ``several`` or ``regression``, by the classes of a task."""
    return {0: "regression", 2: "binary"}.get(len(classes), "several")


def colour_of(method: str) -> str:
    """By what the method sees."""
    first = method.split("_")[0]
    if first in COLOURS:
        return COLOURS[first]
    return next((e.pages.colour for e in encoders() if e.name == first), "black")


def line_of(method: str) -> Any:
    """By how the method decides."""
    return LINES.get(method.split("_")[-1], "-")


def short_of(method: str) -> str:
    """Name of a method in tables and figures, also of those of few-shot and zero-shot."""
    if method in METHODS or owner_of(method):
        return method_name(method).short
    features, _, estimator = method.rpartition("_")
    return f"{feature_name(features)}, {FEW_ESTIMATORS[estimator]}"
