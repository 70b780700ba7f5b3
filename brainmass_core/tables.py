"""The pyarrow schema of every table, reading and atomic writing.

A file is published only whole: it is written beside its final name, synced and renamed. Each file
carries its table's name, the schema version and the hash of the configuration that made it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

VERSION = 1

# targets that make the tables which are not called like their stage
MADE_BY = {"manifest": "", "history": "pretrain"} | dict.fromkeys(
    ("cohort", "predictions", "roc", "metrics", "calibration"), "finetune"
)
MADE_BY |= dict.fromkeys(("regions", "networks", "attention", "stability", "maps"), "interpret")
MADE_BY |= dict.fromkeys(
    ("few_shot", "learning_curve", "zero_shot", "zero_shot_predictions"), "finetune"
)
MADE_BY |= {
    f"series_model_{name}": "series_model"
    for name in ("reconstruction", "forecast", "networks", "attention", "perturbation")
}

_F32 = pa.float32()
_STATUS = [("status", pa.string()), ("reason", pa.string())]

SCANS = pa.schema(
    [
        ("scan_id", pa.string()),
        ("dataset", pa.string()),
        ("participant_id", pa.string()),
        ("session", pa.string()),
        ("task", pa.string()),
        ("run", pa.string()),
        ("kind", pa.string()),
        ("bold_path", pa.string()),
        ("bold_key", pa.string()),
        ("t1w_path", pa.string()),
        ("mask_path", pa.string()),
        ("confounds_path", pa.string()),
        ("t_r", pa.float64()),
        ("slice_timing", pa.list_(pa.float64())),
        ("slice_axis", pa.int64()),
        ("phase_encoding", pa.string()),
        ("total_readout_time", pa.float64()),
        ("n_volumes", pa.int64()),
        ("site", pa.string()),
        ("age", pa.float64()),
        ("sex", pa.string()),
        ("mean_fd", pa.float64()),
        ("role", pa.string()),
        ("split", pa.string()),
        ("batch", pa.int64()),
        ("excluded_reason", pa.string()),
    ]
)
PREPROCESS = pa.schema(
    [
        ("scan_id", pa.string()),
        *_STATUS,
        ("step", pa.string()),
        ("seconds", pa.float64()),
        ("peak_rss", pa.float64()),
        ("outputs", pa.map_(pa.string(), pa.string())),
        ("sha256", pa.map_(pa.string(), pa.string())),
        ("seconds_per_step", pa.map_(pa.string(), pa.float64())),
        ("peak_rss_per_step", pa.map_(pa.string(), pa.float64())),
        ("engines", pa.map_(pa.string(), pa.string())),
        ("space", pa.string()),
        ("t_r", pa.float64()),
        ("n_dummy_volumes", pa.int64()),
        ("slice_timing", pa.string()),
        ("distortion", pa.string()),
        ("despiked_fraction", pa.float64()),
        ("n_volumes", pa.int64()),
        ("n_volumes_censored", pa.int64()),
        ("mean_fd", pa.float64()),
        ("max_fd", pa.float64()),
        ("mean_rmsd", pa.float64()),
        ("std_dvars", pa.float64()),
        ("tsnr", pa.float64()),
        ("global_correlation", pa.float64()),
        ("mask_dice", pa.float64()),
        ("template_correlation", pa.float64()),
        ("t1w_coverage", pa.float64()),
        ("brain_volume", pa.float64()),
        ("coregistration_cost", pa.float64()),
        ("coregistration_sharpness", pa.float64()),
    ]
)
QUALITY = pa.schema(
    [
        ("scan_id", pa.string()),
        *_STATUS,
        ("remedy", pa.string()),
        ("stage", pa.string()),
        ("step", pa.string()),
        ("page", pa.string()),
        ("flags", pa.list_(pa.string())),
    ]
    + [
        (name, pa.float64())
        for name in (
            "mean_fd",
            "max_fd",
            "mean_rmsd",
            "censored_fraction",
            "std_dvars",
            "tsnr",
            "global_correlation",
            "mask_dice",
            "template_correlation",
            "coregistration_cost",
            "coregistration_sharpness",
            "n_timepoints",
            "residual_dof",
            "min_coverage",
            "n_empty_rois",
            "mean_abs_fc",
            "network_contrast",
        )
    ]
)
MANIFEST = pa.schema(
    [
        ("stage", pa.string()),
        ("dataset", pa.string()),
        ("batch", pa.int64()),
        ("scan_id", pa.string()),
        *_STATUS,
        ("step", pa.string()),
        ("remedy", pa.string()),
        ("log", pa.string()),
        ("seconds", pa.float64()),
        ("peak_rss_mb", pa.float64()),
    ]
)
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
    [("task", pa.string()), ("method", pa.string())]
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
    [("task", pa.string()), ("method", pa.string())]
    + [(n, pa.int64()) for n in ("class_number", "bin", "n")]
    + [(n, pa.float64()) for n in ("predicted", "observed")]
)
_N_TRAINED = [(n, pa.int64()) for n in ("n_train_participants", "n_train_scans")]
FEW_SHOT = pa.schema(
    [("task", pa.string()), ("method", pa.string())]
    + [(n, pa.int64()) for n in ("k", "draw", "repeat", "fold")]
    + [("auc", pa.float64()), ("balanced_accuracy", pa.float64())]
    + [*_N_TRAINED, ("n_test_scans", pa.int64())]
)
LEARNING_CURVE = pa.schema(
    [("task", pa.string()), ("method", pa.string())]
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
ROC = pa.schema(
    [("task", pa.string()), ("method", pa.string())]
    + [(n, pa.float64()) for n in ("fpr", "tpr", "tpr_low", "tpr_high")]
)


def history_schema(parts: Sequence[str]) -> pa.Schema:
    """Schema of a training: a step per row, with the loss and what a model's step gives beside it.

    Where a model sees one view of a scan, `view_distance` is null.
    """
    measures = ("embedding_std", "effective_rank", "view_distance", "uniformity")
    return pa.schema(
        [("step", pa.int64()), ("epoch", pa.int64()), ("lr", pa.float64())]
        + [(name, pa.float64()) for name in ("loss", *parts, *measures)]
    )


HISTORY = history_schema(("loss_alignment", "loss_classification", "loss_reconstruction"))
BRAINLM_HISTORY = history_schema(("target_variance",))
_TASK_METHOD = [("task", pa.string()), ("method", pa.string())]
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
    """Schema of attention maps: `map` is (n_rois, n_rois), row-major; a row is who attends."""
    element = pa.field("element", _F32, nullable=False)
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


PREDICTED = pa.schema(
    [
        ("scan_id", pa.string()),
        ("participant_id", pa.string()),
        *_STATUS,
        ("y_pred", pa.string()),
        ("y_score", pa.float64()),
    ]
)

_OF_SERIES = [
    (score + end, pa.float64())
    for score in ("mse", "variance", "r2", "pearson")
    for end in ("", "_low", "_high")
]
_UNSEEN = [("dataset", pa.string()), ("method", pa.string()), ("n_participants", pa.int64())]
_PARCEL = [("roi", pa.int64()), ("name", pa.string()), ("network", pa.string())]
SERIES_MODEL = {
    "reconstruction": pa.schema(
        [*_UNSEEN, ("n_windows", pa.int64()), ("mask_ratio", pa.float64()), *_OF_SERIES]
    ),
    "forecast": pa.schema(
        [
            *_UNSEEN,
            ("n_windows", pa.int64()),
            ("step", pa.int64()),
            *_OF_SERIES,
            *((f"r2_gain{end}", pa.float64()) for end in ("", "_low", "_high")),
        ]
    ),
    "networks": pa.schema(
        [
            ("scheme", pa.string()),
            ("method", pa.string()),
            ("n_participants", pa.int64()),
            ("n_rois", pa.int64()),
            ("source", pa.string()),
            *((f"balanced_accuracy{end}", pa.float64()) for end in ("", "_low", "_high")),
            *((f"chance{end}", pa.float64()) for end in ("", "_low", "_high")),
            ("n_permutations", pa.int64()),
            ("p", pa.float64()),
            ("networks", pa.list_(pa.string())),
            ("recalls", pa.list_(pa.float64())),
        ]
    ),
    "attention": pa.schema(
        [
            *_PARCEL,
            ("n_participants", pa.int64()),
            ("attention", pa.float64()),
            ("attention_sd", pa.float64()),
            ("first", pa.string()),
            ("second", pa.string()),
            ("n_first", pa.int64()),
            ("n_second", pa.int64()),
            *((name, pa.float64()) for name in ("difference", "t", "p", "p_family")),
        ]
    ),
    "perturbation": pa.schema(
        [
            *_PARCEL,
            ("first", pa.string()),
            ("second", pa.string()),
            ("n_first", pa.int64()),
            ("n_second", pa.int64()),
            *((f"magnitude{end}", pa.float64()) for end in ("", "_low", "_high")),
            ("added", pa.float64()),
            ("remaining_low", pa.float64()),
            ("remaining_high", pa.float64()),
            *((f"stability_restarts{end}", pa.float64()) for end in ("", "_low", "_high")),
            *((f"stability_draws{end}", pa.float64()) for end in ("", "_low", "_high")),
        ]
    ),
}


def embedding_schema(n: int) -> pa.Schema:
    """Schema of the embeddings of new scans, n numbers each."""
    element = pa.field("element", _F32, nullable=False)
    return pa.schema([("scan_id", pa.string()), ("embedding", pa.list_(element, n))])


def timeseries_schema(n_rois: int) -> pa.Schema:
    """Schema of the time series of one atlas; `bold` is (n_timepoints, n_rois)."""
    return pa.schema(
        [
            ("scan_id", pa.string()),
            *_STATUS,
            ("atlas", pa.string()),
            ("space", pa.string()),
            ("denoise", pa.string()),
            ("order", pa.string()),
            ("filter", pa.string()),
            ("censor", pa.string()),
            ("n_regressors", pa.int64()),
            ("t_r", pa.float64()),
            ("n_timepoints", pa.int64()),
            ("n_censored", pa.int64()),
            ("residual_dof", pa.float64()),
            ("n_rois", pa.int64()),
            ("n_empty_rois", pa.int64()),
            ("mean_fd", pa.float64()),
            ("coverage", pa.list_(_F32, n_rois)),
            ("bold", pa.list_(pa.field("element", pa.list_(_F32, n_rois)))),
        ]
    )


def connectivity_schema(n_rois: int) -> pa.Schema:
    """Schema of FC: `fc` is the upper triangle, row-major, without the diagonal."""
    element = pa.field("element", _F32, nullable=False)
    return pa.schema(
        [
            ("scan_id", pa.string()),
            ("estimator", pa.string()),
            ("n_timepoints", pa.int64()),
            ("fc", pa.list_(element, n_edges(n_rois))),
        ]
    )


def pfc_schema(n_rois: int) -> pa.Schema:
    """Schema of pseudo-FC: `fc` is float16, little-endian, upper triangle in row-major order."""
    return pa.schema(
        [
            ("scan_id", pa.string()),
            ("view", pa.int32()),
            ("n_kept", pa.int32()),
            ("seed", pa.int64()),
            ("fc", pa.binary(2 * n_edges(n_rois))),
        ],
        metadata={"dtype": "<f2", "order": "upper triangle, row-major", "n_rois": str(n_rois)},
    )


def n_edges(n_rois: int) -> int:
    """Number of edges of an undirected graph without loops."""
    return n_rois * (n_rois - 1) // 2


class TableError(ValueError):
    """A table that cannot be read or is not what was expected."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it to `path`.

    Raises
    ------
    OSError
        If the folder cannot be written or the disk is full; `path` is then left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(
    path: Path, table: pa.Table, name: str, config_hash: str = "", **options: Any
) -> None:
    """Publish a table atomically.

    Parameters
    ----------
    name : str
        Name of the table, such as ``scans``; written to the metadata with the version.
    config_hash : str
        Hash of the configuration that made it.
    **options
        Passed to `pyarrow.parquet.write_table`, such as ``row_group_size``.
    """
    metadata = {
        **(table.schema.metadata or {}),
        b"brainmass_table": name.encode(),
        b"brainmass_version": str(VERSION).encode(),
        b"brainmass_config_hash": config_hash.encode(),
    }
    options.setdefault("compression", "zstd")
    options.setdefault("write_page_checksum", True)
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, **options)


def read_table(path: Path, name: str, columns: list[str] | None = None) -> pa.Table:
    """Read a table and check that it is the one expected.

    Raises
    ------
    TableError
        If the file is missing, damaged, another table, or of another schema version; the message
        says which target makes it anew.
    """
    command = f"run: snakemake --cores all {MADE_BY.get(name, name)}".rstrip()
    remedy = f"remove it and {command}"
    if not path.exists():
        raise TableError(f"{path}: no such table; {command}")
    try:
        # not a path but an open file: pyarrow would read folder names as partition columns
        with open(path, "rb") as file:
            reader = pq.ParquetFile(file, page_checksum_verification=True)
            table = reader.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path}: damaged Parquet file ({error}); {remedy}") from None
    metadata = table.schema.metadata or {}
    found = metadata.get(b"brainmass_table", b"no brainmass table").decode()
    version = metadata.get(b"brainmass_version", b"none").decode()
    if found != name or version != str(VERSION):
        raise TableError(
            f"{path}: found {found!r} version {version}, expected {name!r} version {VERSION}; "
            f"{remedy}"
        )
    absent = sorted(set(columns or []) - set(table.schema.names))
    if absent:
        raise TableError(f"{path}: columns {absent} are missing from {name!r}; {remedy}")
    return table


def config_hash_of(path: Path) -> str:
    """The configuration hash in a table's metadata, empty if there is none."""
    metadata = pq.read_metadata(path).metadata or {}
    return metadata.get(b"brainmass_config_hash", b"").decode()


def from_rows(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows to a table of exactly this schema; missing keys become null.

    Raises
    ------
    KeyError
        If a row has a key that the schema lacks.
    """
    for row in rows:
        unknown = set(row) - set(schema.names)
        if unknown:
            raise KeyError(f"not in the schema: {sorted(unknown)}")
    return pa.Table.from_pylist(rows, schema=schema)
