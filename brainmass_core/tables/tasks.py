"""Schemas of tables of tasks: cohorts, predictions, scores and regions."""

from __future__ import annotations

import pyarrow as pa

from brainmass_core.tables.scans import STATUS

_TASK_METHOD = [("task", pa.string()), ("method", pa.string())]
PREDICTIONS = pa.schema(
    [
        ("task", pa.string()),
        ("method", pa.string()),
        ("repeat", pa.int64()),
        ("fold", pa.int64()),
        ("scan_id", pa.string()),
        ("dataset", pa.string()),
        ("participant_id", pa.string()),
        ("y_true", pa.float64()),
        ("y_score", pa.float64()),
        ("y_pred", pa.float64()),
        ("class_scores", pa.list_(pa.float64())),
        ("probability", pa.list_(pa.float64())),
        ("site", pa.string()),
        ("n_train", pa.int64()),
    ]
)
METRICS = pa.schema(
    _TASK_METHOD
    + [(n, pa.int64()) for n in ("n_participants", "n_positive", "n_scans", "n_repeats")]
    + [
        (f"{metric}{suffix}", pa.float64())
        for metric in (
            "accuracy",
            "auc",
            "sensitivity",
            "specificity",
            "balanced_accuracy",
            "f1",
            "brier",
            "r2",
            "mse",
            "mae",
            "pearson_r",
            "auc_minus_fc_svm",
            "minus_best",
        )
        for suffix in ("", "_low", "_high")
    ]
    + [("kind", pa.string()), ("leading", pa.string()), ("best_baseline", pa.string())]
    + [
        (name, pa.float64())
        for name in (
            "target_variance",
            "corrected_low",
            "corrected_high",
            "p_minus_best",
            "p_permutation",
            "p_permutation_refit",
        )
    ]
    + [("n_unadjusted", pa.int64())]
)
CALIBRATION = pa.schema(
    _TASK_METHOD
    + [(n, pa.int64()) for n in ("class_number", "bin", "n")]
    + [(n, pa.float64()) for n in ("predicted", "observed")]
)
_N_TRAINED = [(n, pa.int64()) for n in ("n_train_participants", "n_train_scans")]
FEW_SHOT = pa.schema(
    _TASK_METHOD
    + [(n, pa.int64()) for n in ("k", "draw", "repeat", "fold")]
    + [("auc", pa.float64()), ("balanced_accuracy", pa.float64())]
    + [*_N_TRAINED, ("n_test_scans", pa.int64())]
)
LEARNING_CURVE = pa.schema(
    _TASK_METHOD
    + [(n, pa.int64()) for n in ("k", "n_draws", "n_folds")]
    + [
        (f"{metric}{suffix}", pa.float64())
        for metric in ("auc", "balanced_accuracy")
        for suffix in ("", "_low", "_high", "_draw_low", "_draw_high")
    ]
)
ZERO_SHOT = pa.schema(
    [(n, pa.string()) for n in ("task", "source", "method", "harmonise")]
    + [*_N_TRAINED, ("n_test_participants", pa.int64()), ("n_test_scans", pa.int64())]
    + [
        (f"{metric}{suffix}", pa.float64())
        for metric in ("auc", "balanced_accuracy")
        for suffix in ("", "_low", "_high")
    ]
)
ZERO_SHOT_PREDICTIONS = pa.schema(
    [
        *((n, pa.string()) for n in ("task", "method", "scan_id", "dataset", "participant_id")),
        ("site", pa.string()),
        ("y_true", pa.int64()),
        ("y_pred", pa.int64()),
        ("y_scores", pa.list_(pa.float64())),
    ]
)
COHORT = pa.schema(
    [
        ("task", pa.string()),
        ("scan_id", pa.string()),
        ("dataset", pa.string()),
        ("participant_id", pa.string()),
        ("site", pa.string()),
        ("age", pa.float64()),
        ("sex", pa.string()),
        ("mean_fd", pa.float64()),
        ("split", pa.string()),
        ("batch", pa.int64()),
        ("label", pa.string()),
        ("class_name", pa.string()),
        ("used", pa.bool_()),
        ("stage", pa.string()),
        ("reason", pa.string()),
    ]
)
# for joined runs: the remaining runs, and their number in the scans table
JOINED_COHORT = pa.schema([*COHORT, ("joined", pa.list_(pa.string())), ("n_listed", pa.int64())])
# columns that two data sets may have coded in different ways
CODINGS = pa.schema([(n, pa.string()) for n in ("task", "column", "warning")])
ROC = pa.schema(_TASK_METHOD + [(n, pa.float64()) for n in ("fpr", "tpr", "tpr_low", "tpr_high")])
PREDICTED = pa.schema(
    [
        ("scan_id", pa.string()),
        ("participant_id", pa.string()),
        *STATUS,
        ("y_pred", pa.string()),
        ("y_score", pa.float64()),
    ]
)
REGIONS = pa.schema(
    [
        *_TASK_METHOD,
        ("roi", pa.int64()),
        ("name", pa.string()),
        ("network", pa.string()),
        ("importance", pa.float64()),
        ("importance_low", pa.float64()),
        ("importance_high", pa.float64()),
        ("evidence", pa.float64()),
        ("p", pa.float64()),
        ("p_corrected", pa.float64()),
        ("rank", pa.int64()),
        ("frequency", pa.float64()),
        ("stable", pa.bool_()),
        ("reason", pa.string()),
    ]
)
NETWORKS = pa.schema(
    [
        *_TASK_METHOD,
        ("network", pa.string()),
        ("source", pa.string()),
        ("n_rois", pa.int64()),
        ("importance", pa.float64()),
        ("n_top", pa.int64()),
        ("p", pa.float64()),
        ("p_corrected", pa.float64()),
    ]
)
STABILITY = pa.schema(
    _TASK_METHOD
    + [(n, pa.int64()) for n in ("n_folds", "n_scans", "n_participants", "top_k")]
    + [
        (f"{measure}{suffix}", pa.float64())
        for measure in ("kuncheva", "jaccard", "spearman", "auc")
        for suffix in ("", "_low", "_high")
    ]
    + [
        ("agreement_with_scored", pa.float64()),
        ("rank_correlation_with_permutation", pa.float64()),
        ("completeness_error", pa.float64()),
        ("stable", pa.bool_()),
        ("reason", pa.string()),
    ]
)
MAPS = pa.schema([("name", pa.string()), ("caption", pa.string()), ("missing", pa.string())])


def attention_schema(n_rois: int) -> pa.Schema:
    """Schema of attention maps: `map` is (n_rois, n_rois), row-major; rows attend to columns."""
    element = pa.field("element", pa.float32(), nullable=False)
    return pa.schema(
        [
            ("task", pa.string()),
            ("layers", pa.string()),
            ("group", pa.string()),
            ("n_scans", pa.int64()),
            ("n_participants", pa.int64()),
            ("map", pa.list_(element, n_rois * n_rois)),
        ]
    )
