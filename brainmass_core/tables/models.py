"""Schemas of tables of pre-training, of analyses on series, and of predictions for new scans."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


def history_schema(parts: Sequence[str]) -> pa.Schema:
    """Schema of a training history: one step per row, with the losses and other measures.

    For models with a single view of a scan, `view_distance` is null.
    """
    measures = ("embedding_std", "effective_rank", "view_distance", "uniformity")
    return pa.schema(
        [("step", pa.int64()), ("epoch", pa.int64()), ("lr", pa.float64())]
        + [(name, pa.float64()) for name in ("loss", *parts, *measures)]
    )


HISTORY = history_schema(("loss_alignment", "loss_classification", "loss_reconstruction"))
BRAINLM_HISTORY = history_schema(("target_variance",))

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
    """Schema of the embeddings of new scans, with `n` values each."""
    element = pa.field("element", pa.float32(), nullable=False)
    return pa.schema([("scan_id", pa.string()), ("embedding", pa.list_(element, n))])
