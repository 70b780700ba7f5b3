"""Pre-training of BrainMass: two views of a scan's FC, and four losses per step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
from torch import Tensor

from brainmass_core.config import Config
from brainmass_core.config.sections import Pretrain
from brainmass_core.encoders.brainmass.card import flops_per_sample, model_card
from brainmass_core.encoders.brainmass.model import BrainMass, build
from brainmass_core.pretrain.data.views import Index, Stream, fresh_of
from brainmass_core.pretrain.model_spec import Constants, ModelSpec, batching
from brainmass_core.tables import HISTORY


class BrainMassSpec(ModelSpec):
    """Latent alignment of two views, and two tasks on masked ROIs."""

    history = HISTORY
    parts = ("alignment", "classification", "reconstruction")
    curves: ClassVar = {
        "total loss": {"loss": ""},
        "parts, unweighted": {
            "loss_alignment": "alignment (start about 4)",
            "loss_classification": "masked-ROI classification",
            "loss_reconstruction": "masked-ROI reconstruction",
        },
    }
    digest = "pfc_sha256"

    def build(self, config: Config, n_rois: int) -> BrainMass:
        """Build the configured model with initial weights."""
        s = config.pretrain
        about = (s.dropout, s.train_heads, s.masking, s.fisher_z, s.passes)
        return build(s.size, n_rois, config.seed, s.heads, *about)

    def check(self, config: Config, index: Index, n_ranks: int) -> None:
        """Refuse impossible batches and masks."""
        self.stream(config, index, 0, n_ranks, {})

    def stream(
        self, config: Config, index: Index, rank: int, n_ranks: int, constants: Constants
    ) -> Stream:
        """Batches of stored pFC, or of views computed from time series."""
        s = config.pretrain
        masked = (s.n_masked_classification, s.n_masked_reconstruction)
        how = batching(config, index, rank, n_ranks)
        return Stream(index, n_masked=masked, fresh=fresh_of(config), **how)

    def total(self, parts: Mapping[str, Tensor], settings: Pretrain) -> Tensor:
        """The weighted sum; see `BrainMass.forward`."""
        return (
            parts["alignment"]
            + settings.lambda_classification * parts["classification"]
            + settings.lambda_reconstruction * parts["reconstruction"]
        )

    def after_step(self, model: BrainMass, settings: Pretrain) -> None:
        """Update the target network."""
        model.update_target(settings.ema_decay)

    def operations(self, model: BrainMass, config: Config, n_rois: int) -> int:
        """See `card.flops_per_sample`."""
        return flops_per_sample(model, config)

    def describe(
        self, model: BrainMass, config: Config, index: Index, constants: Constants
    ) -> dict[str, Any]:
        """Description of the FC used for training."""
        return {
            "size": model.size,
            "n_rois": model.n_rois,
            "heads": model.heads,
            "embedding_dim": model.embedding_dim,
            "atlas": config.atlas.name,
            "estimator": config.pfc.estimator,
            "pfc": config.pfc.dropping,
        }

    def card(
        self, model: BrainMass, config: Config, index: Index, about: dict, history: pa.Table
    ) -> str:
        """The model card as Markdown."""
        return model_card(config, index, about, history, model)
