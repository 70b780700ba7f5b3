"""What methods, metrics and quality measures are called on the pages."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any

from brainmass_core.config.methods import FEATURES, METHODS

# of methods whose sentence says more than what they see and what is fitted to it
SENTENCES = {
    "chance": "A class drawn with the proportions of the training scans.",
    "confounds_svm": "Site, age, sex and mean framewise displacement alone, no brain signal; SVM "
    "with radial kernel, C = 1.",
    "fc_svm": "All edges of the FC matrix, standardised; SVM with linear kernel, C = 1.",
    "untrained_svm": "Embedding of the encoder with random weights, standardised and clipped at 5 "
    "SD; SVM with radial kernel, C = 1. What pre-training adds is the distance from here.",
    "brainmass_svm": "Embedding of the frozen pre-trained encoder, standardised and clipped at 5 "
    "SD; SVM with radial kernel, C = 1.",
    "series_svm": "The first window of each recording, scaled as the model is fed it, as up to 200 "
    "principal components of the training scans; SVM with radial kernel, C = 1.",
    "brainnetcnn": "All of FC, by a convolutional network trained in every fold.",
    "transformer": "All of FC, by a Brain Network Transformer trained in every fold.",
    "untrained_finetune": "The encoder with random weights and a head, all of it trained in every "
    "fold. What pre-training adds to fine-tuning is the distance from here.",
    "brainmass_finetune": "The pre-trained encoder and a head, all of it trained further in every "
    "fold.",
    "brainmass_lora": "The pre-trained encoder held fixed, low-rank adapters and a head trained in "
    "every fold.",
    "untrained_brainlm_finetune": "BrainLM with random weights and a head, on the first window of "
    "each recording, all of it trained in every fold.",
    "brainlm_finetune": "The pre-trained BrainLM and a head, on the first window of each "
    "recording, all of it trained further in every fold.",
}
FEW_ESTIMATORS = {
    "svm": "linear SVM",
    "logistic": "logistic regression",
    "prototype": "nearest class mean",
    "knn": "k-NN",
}
# few-shot and zero-shot: name of a method to those of its features and its classifier
FEW_SHOT = {f"{f}_{c}": (f, c) for f in FEATURES for c in FEW_ESTIMATORS}
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
# by what a method sees; Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = {
    "chance": "#999999",
    "confounds": "#E69F00",
    "fc": "#0072B2",
    "tangent": "#56B4E9",
    "brainnetcnn": "#009E73",
    "transformer": "#009E73",
    "untrained": "#CC79A7",
    "untrained_brainlm": "#CC79A7",
    "brainmass": "#D55E00",
    "brainlm": "#D55E00",
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


def sees(method: str) -> str:
    """What a method sees, by the name of its features; networks on FC are of a kind of their own.

    Also of the features of few-shot and zero-shot themselves.
    """
    if method not in METHODS:
        return method
    m = METHODS[method]
    return m.estimator.name if m.estimator.alone else m.features.name


def colour_of(method: str) -> str:
    """By what the method, or features, see."""
    return COLOURS.get(sees(method), "black")


def line_of(method: str) -> Any:
    """By how the method decides."""
    return LINES.get(METHODS[method].estimator.name, "-")


def short_of(method: str) -> str:
    """Name of a method in tables and figures, also of those of few-shot and zero-shot."""
    if method in METHODS:
        return METHODS[method].label
    features, classifier = FEW_SHOT[method]
    return f"{FEATURES[features].label}, {FEW_ESTIMATORS[classifier]}"


def sentence_of(method: str) -> str:
    """What a method sees and how it decides."""
    m = METHODS[method]
    return SENTENCES.get(method) or f"{m.features.text}, standardised; {m.estimator.text}."


def listed(methods: Iterable[str]) -> dict[str, Any]:
    """What the text on methods asks of those of a task."""
    known = [METHODS[m] for m in methods]
    return {
        "methods": [{"Method": m.label, "What it sees": sentence_of(m.name)} for m in known],
        "features": {m.features.name for m in known},
        "estimators": {m.estimator.name for m in known},
        "networks": any(m.estimator.is_network for m in known),
    }
