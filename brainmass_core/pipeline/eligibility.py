"""Who may be pre-trained on. It imports nothing of this package."""

from __future__ import annotations

from typing import Any


def dataset_may_be_pretrained_on(dataset: Any) -> bool:
    """Whether a data set has anybody to pre-train on, from its section of the configuration."""
    return dataset.role != "external"


def may_be_pretrained_on(split: str | None) -> bool:
    """Whether pre-training may see a scan of this split (`scans.split`): not those kept for
    evaluation (``test``), nor one that the scans table does not list (None)."""
    return split in ("pretrain", "train")
