"""Pre-training of BrainLM: windows of scaled series, and the loss on hidden values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from brainmass_core.atlas.parcels import parcels, places
from brainmass_core.config import Config
from brainmass_core.config.sections import Pretrain
from brainmass_core.encoders.brainlm import model, vit
from brainmass_core.encoders.brainlm.card import brainlm_card
from brainmass_core.encoders.brainlm.record import TOKEN_STEPS
from brainmass_core.models.series import SeriesModel
from brainmass_core.pretrain.data.index import Index, ShardError
from brainmass_core.pretrain.data.windows import WindowStream, fit_scaling, tokens_of, windows_of
from brainmass_core.pretrain.model_spec import Constants, ModelSpec, batching
from brainmass_core.spaces import FSL, SpaceError
from brainmass_core.spaces.bridges import bridge
from brainmass_core.tables import BRAINLM_HISTORY
from brainmass_core.timeseries.robust_scaling import VERSION, RobustScaling

TINY = ("brainlm-tiny", "brainlm-vit-tiny")


class BrainLMSpec(ModelSpec):
    """Masked values of a window, predicted from the others."""

    history = BRAINLM_HISTORY
    parts = ("variance",)
    curves: ClassVar = {
        "error of hidden values": {
            "loss": "mean square, BrainLM",
            "target_variance": "mean square, predicting their mean",
        }
    }
    digest = "timeseries_sha256"

    def build(self, config: Config, n_rois: int) -> SeriesModel:
        """Build the configured model with initial weights, for any `n_rois`."""
        s = config.pretrain
        size, mode = "tiny" if s.model in TINY else s.model, s.brainlm.mode
        if s.model in TOKEN_STEPS:
            how = {"dropout": s.dropout, "embedding_dropout": s.dropout}
            return model.build(size, config.seed, mode, **how)
        return vit.build(size, config.seed, mode, dropout=s.dropout)

    def constants(self, config: Config, index: Index) -> dict[str, Tensor]:
        """Coordinates (n_rois, 3) of the parcels in mm, and the scaling fitted to the scans of the
        index.
        """
        coordinates = coordinates_of(config, index.n_rois)
        scaling = fit_scaling(index, config.seed, config.pretrain.brainlm.t_r)
        return {
            "coordinates": torch.from_numpy(coordinates),
            "median": torch.tensor(scaling.median, dtype=torch.float64),
            "iqr": torch.tensor(scaling.iqr, dtype=torch.float64),
            "n_recordings": torch.tensor(scaling.n_recordings),
        }

    def check(self, config: Config, index: Index, n_ranks: int) -> None:
        """Refuse impossible batches and masks, and an atlas without coordinates."""
        batching(config, index, 0, n_ranks)
        tokens_of(meta_model(config), index.n_rois, windows_of(config))
        coordinates_of(config, index.n_rois)

    def stream(
        self, config: Config, index: Index, rank: int, n_ranks: int, constants: Constants
    ) -> WindowStream:
        """Windows of the scaled series."""
        return WindowStream(
            index,
            windows=windows_of(config),
            model=meta_model(config),
            coordinates=constants["coordinates"].float(),
            scaling=scaling_of(constants),
            **batching(config, index, rank, n_ranks),
        )

    def total(self, parts: Mapping[str, Tensor], settings: Pretrain) -> Tensor:
        """The mean squared error of hidden values."""
        return parts["reconstruction"]

    def views(self, embedding: Tensor) -> Tensor:
        """A single view (1, n, d): the CLS token of the visible tokens."""
        return embedding[None]

    def operations(self, model: SeriesModel, config: Config, n_rois: int) -> int:
        """Operations of a step that hides random tokens, forward and backward."""
        windows, meta = windows_of(config), meta_model(config).train()
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            series, coordinates = torch.empty(1, n_rois, windows.length), torch.empty(n_rois, 3)
            noise = torch.empty(1, meta.n_tokens(n_rois, windows.length))
            mask = meta.noise_mask(noise, windows.ratio)
            meta(series, coordinates, mask)["reconstruction"].backward()
        return counter.get_total_flops()

    def describe(
        self, model: SeriesModel, config: Config, index: Index, constants: Constants
    ) -> dict[str, Any]:
        """Description of the training series and their scaling."""
        s, scaling = config.pretrain.brainlm, scaling_of(constants)
        return {
            "size": model.size,
            "mode": model.mode,
            "n_rois": index.n_rois,
            "embedding_dim": model.embedding_dim,
            "atlas": config.atlas.name,
            "window": s.window,
            "mask_ratio": s.mask_ratio,
            "future_share": s.future_share,
            "future_steps": s.future_steps,
            "t_r": index.t_r,
            "scaling": {"version": VERSION, **scaling.__dict__, "sha256": scaling.digest},
            "coordinates": constants["coordinates"].tolist(),
        }

    def card(
        self, model: SeriesModel, config: Config, index: Index, about: dict, history: pa.Table
    ) -> str:
        """The model card as Markdown."""
        flops = self.operations(model, config, index.n_rois)
        return brainlm_card(model, config, index, about, history, flops)


PRETRAINING = BrainLMSpec()


def meta_model(config: Config) -> SeriesModel:
    """The model on the meta device, for its tokens, masks and number of operations."""
    with torch.device("meta"):
        return PRETRAINING.build(config, 0)


def scaling_of(constants: Constants) -> RobustScaling:
    """The scaling, from the constants of a training run."""
    median, iqr = (tuple(constants[name].tolist()) for name in ("median", "iqr"))
    return RobustScaling(median, iqr, int(constants["n_recordings"]))


def coordinates_of(config: Config, n_rois: int) -> np.ndarray:
    """Centroids of the parcels in MNI152NLin6Asym.

    The A424 atlas, with which BrainLM was published, is in that space; coordinates of other atlases
    are transformed by a bridge. If the atlas does not state its space, its coordinates are used
    unchanged. Image models only use y; other unknown coordinates are set to 0.

    Returns
    -------
    ndarray (n_rois, 3), float64
        In mm.

    Raises
    ------
    ShardError
        If the coordinates of a parcel are unknown, or there is no bridge from the atlas's space.
    """
    name = config.atlas.name
    table = parcels(config, name, n_rois)
    try:
        bridge(table["space"].iloc[0] or FSL, FSL)
    except SpaceError as error:
        raise ShardError(
            f"the coordinates of the atlas {name} are needed in {FSL}: {error}"
        ) from None
    coordinates = places(table, FSL).astype(np.float64)
    needed = coordinates if config.pretrain.model in TOKEN_STEPS else coordinates[:, 1:2]
    unknown = np.flatnonzero(~np.isfinite(needed).all(axis=1))
    if len(unknown):
        raise ShardError(
            f"the atlas {name} has no coordinates of {len(unknown)} of {n_rois} parcels, such as "
            f"{table['name'][unknown[0]]}, but {config.pretrain.model} needs them: give a table "
            "with the columns index, name, x, y, z (MNI, mm) as atlas.labels, or the label image "
            "as atlas.path"
        )
    return np.nan_to_num(coordinates)
