"""What methods, metrics and quality measures are called on the pages."""

from __future__ import annotations

from dataclasses import dataclass


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
    "untrained_svm": Name(
        "Untrained encoder",
        "Embedding of the encoder with random weights, standardised and clipped at 5 SD; SVM with "
        "radial kernel, C = 1. What pre-training adds is the distance from here.",
    ),
    "brainmass_svm": Name(
        "BrainMass",
        "Embedding of the frozen pre-trained encoder, standardised and clipped at 5 SD; SVM with "
        "radial kernel, C = 1.",
    ),
}
_FEATURES = {
    "confounds": ("Confounds", "Site, age, sex and mean framewise displacement alone"),
    "fc": ("FC", "All edges of the FC matrix"),
    "tangent": ("Tangent FC", "FC in the tangent space at the training scans' geometric mean"),
    "untrained": ("Untrained encoder", "Embedding of the encoder with random weights"),
    "brainmass": ("BrainMass", "Embedding of the frozen pre-trained encoder"),
}
_ESTIMATORS = {
    "svm": ("SVM", "SVM, C = 1"),
    "logistic": ("logistic", "logistic regression, its penalty chosen within the training set"),
    "ridge": ("ridge", "ridge regression, its penalty chosen within the training set"),
    "knn": ("k-NN", "nearest neighbours, their number chosen within the training set"),
}
METHODS |= {
    f"{features}_{estimator}": Name(f"{short}, {how}", f"{what}, standardised; {fitted}.")
    for features, (short, what) in _FEATURES.items()
    for estimator, (how, fitted) in _ESTIMATORS.items()
    if f"{features}_{estimator}" not in METHODS
}
METRICS = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1",
    "auc_minus_fc_svm": "AUC minus FC's",
}
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
