"""Eligibility for pre-training: scans of the splits ``pretrain`` and ``train``.

`scans.split` assigns the splits from the role of the data set and its ``evaluation_fraction``. Of
the eligible scans, `pretrain.data.usable_series` leaves out series that are too short or of another
repetition time, `pipeline.failed_fraction` data sets of which too many scans failed, and
`pretrain.data.tested_people` refuses people whom a task tests. This module imports nothing from
this package.
"""

from __future__ import annotations

from typing import Any


def dataset_may_be_pretrained_on(dataset: Any) -> bool:
    """Whether a data set has participants for pre-training, from its configuration."""
    return dataset.role != "external"


def may_be_pretrained_on(split: str | None) -> bool:
    """Whether pre-training may use a scan of this split (`scans.split`).

    Not eligible are scans kept for evaluation (``test``) and scans that are not in the scans table
    (None)."""
    return split in ("pretrain", "train")
