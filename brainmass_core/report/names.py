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
