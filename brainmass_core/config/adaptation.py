"""Sections of the configuration for end-to-end training, few-shot and zero-shot."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from brainmass_core.config.base import Strict
from brainmass_core.config.names import FeatureName

ClassifierName = Literal["svm", "logistic", "prototype", "knn"]


class Neural(Strict):
    """Networks that are trained in every fold: baselines on FC, full fine-tuning, LoRA."""

    max_epochs: int = Field(
        30, ge=1, description="Maximum number of passes over the training scans."
    )
    patience: int = Field(
        6,
        ge=1,
        description="Training ends after this number of epochs without a lower loss on the "
        "held-out participants.",
    )
    validation_fraction: float = Field(
        0.2,
        gt=0,
        le=0.5,
        description="Fraction of a fold's training participants held out for early stopping.",
    )
    batch_size: int = Field(16, ge=2, description="Scans per step.")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW weight decay.")
    n_threads: int = Field(
        1,
        ge=1,
        description="Threads of a fit on the CPU; a different number changes the last digits.",
    )
    brainnetcnn_maps: int = Field(
        16,
        ge=1,
        description="Feature maps of BrainNetCNN's edge-to-edge layers; the paper has 32, which "
        "takes more than twice as long. The widths of later layers have the paper's proportions.",
    )
    brainnetcnn_lr: float = Field(3e-4, gt=0, description="Learning rate of BrainNetCNN.")
    transformer_clusters: int = Field(
        10, ge=1, description="Clusters of the Brain Network Transformer's readout."
    )
    transformer_lr: float = Field(
        1e-4, gt=0, description="Learning rate of the Brain Network Transformer."
    )
    finetune_lr: float = Field(1e-4, gt=0, description="Learning rate of full fine-tuning.")
    lora_rank: int = Field(4, ge=1, description="Rank of the adapters.")
    lora_alpha: float = Field(8.0, gt=0, description="Adapters are scaled by `lora_alpha / rank`.")
    lora_lr: float = Field(1e-3, gt=0, description="Learning rate of adapters and head.")


def _features() -> Any:
    return Field(
        ["fc", "brainmass", "untrained"],
        min_length=1,
        description="Features to classify. If `pretrain.model` is a BrainLM, the default is `fc`, "
        "`series`, `brainlm` and `untrained_brainlm`.",
    )


def _classifiers() -> Any:
    known = ["svm", "logistic", "prototype", "knn"]
    return Field(known, min_length=1, description="Classifiers fitted to the features.")


class FewShot(Strict):
    """Learning curves over few labelled participants, drawn from the training part of a fold."""

    shots: list[int] = Field(
        default_factory=list,
        description="Participants per class, such as [1, 2, 4, 8, 16, 32]; empty: no curves.",
    )
    n_draws: int = Field(
        50,
        ge=2,
        description="Random draws of participants per fold; larger draws include smaller ones.",
    )
    n_repeats: int = Field(
        1,
        ge=1,
        description="Maximum number of repeats of the task's protocol whose folds are used.",
    )
    features: list[FeatureName] = _features()
    classifiers: list[ClassifierName] = _classifiers()

    @field_validator("shots")
    @classmethod
    def _positive(cls, shots: list[int]) -> list[int]:
        if any(k < 1 for k in shots):
            raise ValueError(f"found {shots}: expected one participant per class or more")
        return sorted(set(shots))


class ZeroShot(Strict):
    """Transfer of a classifier to a cohort without using its labels; see `zero_shot_from`."""

    features: list[FeatureName] = _features()
    classifiers: list[ClassifierName] = _classifiers()
    harmonise: Literal["none", "site_mean"] = Field(
        "none",
        description="`site_mean` subtracts from each scan the mean features of its site. No label "
        "is used, but a scan's score then depends on the other scans of its site.",
    )
