"""Schemas of tables with one row per scan, from the scans table to pFC."""

from __future__ import annotations

import pyarrow as pa

_F32 = pa.float32()
# runs of a joined row, their number in the scans table, and sums over them
OF_JOINED = [
    ("joined", pa.list_(pa.string())),
    ("n_listed", pa.int64()),
    ("t_rs", pa.list_(pa.float64())),
    ("residual_dof", pa.float64()),
]
STATUS = [("status", pa.string()), ("reason", pa.string())]

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
        ("space", pa.string()),
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
# identity and role of a participant, which do not affect how images are processed
OF_PEOPLE = {"site", "age", "sex", "role", "split", "batch"}
PREPROCESS = pa.schema(
    [
        ("scan_id", pa.string()),
        *STATUS,
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
        *STATUS,
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
        *STATUS,
        ("step", pa.string()),
        ("remedy", pa.string()),
        ("log", pa.string()),
        ("seconds", pa.float64()),
        ("peak_rss_mb", pa.float64()),
    ]
)


def timeseries_schema(n_rois: int) -> pa.Schema:
    """Schema of the time series of one atlas; `bold` is (n_timepoints, n_rois)."""
    return pa.schema(
        [
            ("scan_id", pa.string()),
            *STATUS,
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
            ("fd_kind", pa.string()),
            ("source_checksum", pa.string()),
            ("series_fingerprint", pa.string()),
            ("coverage", pa.list_(_F32, n_rois)),
            ("bold", pa.list_(pa.field("element", pa.list_(_F32, n_rois)))),
        ]
    )


def connectivity_schema(n_rois: int, joined: bool = False) -> pa.Schema:
    """Schema of FC: `fc` is the upper triangle, row-major, without the diagonal.

    With `joined` a row contains several runs of a participant: `scan_id` names the unit, `joined`
    lists the runs.
    """
    element = pa.field("element", _F32, nullable=False)
    return pa.schema(
        [
            ("scan_id", pa.string()),
            ("estimator", pa.string()),
            ("n_timepoints", pa.int64()),
            ("fc", pa.list_(element, n_edges(n_rois))),
            *(OF_JOINED if joined else []),
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
