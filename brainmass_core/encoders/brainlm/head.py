"""A BrainLM with a head, all parameters trained in every fold.

It uses the first window of each recording with nothing hidden, in training and in test, so that
predictions are not random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from brainmass_core.config import Config
from brainmass_core.encoders.brainlm.model import BrainLM
from brainmass_core.encoders.brainlm.pretraining import PRETRAINING
from brainmass_core.encoders.brainlm.vit import BrainLMViT
from brainmass_core.encoders.interface import folder_of
from brainmass_core.models.series import SeriesModel
from brainmass_core.pretrain.data.recordings import feed_of

DROPOUT = 0.4  # in the head, as published
KINDS: dict[str, type[BrainLM] | type[BrainLMViT]] = {"BrainLM": BrainLM, "BrainLMViT": BrainLMViT}


@dataclass(frozen=True)
class SeriesFineTune:
    """Training recipe of a BrainLM with a head, see the module.

    Attributes
    ----------
    config : Config
        Configuration of the study, which names the model.
    pretrained : bool
        False: the same architecture with initial weights, as the control.
    lr : float
    """

    knob: ClassVar[str] = "neural.finetune_lr"
    config: Config
    pretrained: bool
    lr: float = 1e-4
    standardise: bool = False

    def build(self, n_rois: int, n_out: int) -> nn.Module:
        """Build encoder and head."""
        model = PRETRAINING.build(self.config, n_rois)  # with dropout as in pre-training
        if self.pretrained:
            stored = type(model).from_pretrained(folder_of(self.config))
            model.load_state_dict(stored.state_dict())
        coordinates = torch.from_numpy(feed_of(self.config).coordinates)
        return AdaptedSeries(model, coordinates, n_out)

    def finish(self, network: nn.Module) -> nn.Module:
        """The same."""
        return network

    def stored(self, network: nn.Module) -> SeriesArchitecture:
        """The recipe without the study."""
        assert isinstance(network, AdaptedSeries)
        return SeriesArchitecture.of(network, self.lr)


@dataclass(frozen=True)
class SeriesArchitecture:
    """Builds the network without the study, for loading stored weights.

    Attributes
    ----------
    architecture : str
        Key of `KINDS`.
    size, mode
        See `SeriesModel`.
    n_rois : int
        Number of parcels; their coordinates are part of the weights.
    """

    knob: ClassVar[str] = "neural.finetune_lr"
    architecture: str
    size: str | dict[str, int]
    mode: str
    n_rois: int
    lr: float = 1e-4
    standardise: bool = False

    @classmethod
    def of(cls, network: AdaptedSeries, lr: float) -> Self:
        """The recipe for a trained network."""
        model = network.model
        n_rois = len(network.get_buffer("coordinates"))
        return cls(type(model).__name__, model.size, model.mode, n_rois, lr)

    def build(self, n_rois: int, n_out: int) -> nn.Module:
        """Build encoder and head; their weights are replaced later."""
        model = KINDS[self.architecture](self.size, self.mode)
        return AdaptedSeries(model, torch.zeros(self.n_rois, 3), n_out)

    def finish(self, network: nn.Module) -> nn.Module:
        """The same."""
        return network

    def stored(self, network: nn.Module) -> Self:
        """The same."""
        return self


class AdaptedSeries(nn.Module):
    """Encoder and head: ``d -> d / 2 -> d / 2 -> n_out``, dropout before each ReLU.

    Parameters
    ----------
    coordinates : Tensor (n_rois, 3)
        MNI, in mm.
    """

    def __init__(self, model: SeriesModel, coordinates: Tensor, n_out: int) -> None:
        super().__init__()
        del model.decoder  # only pre-training needs it
        self.model = model
        self.register_buffer("coordinates", coordinates)
        d = model.embedding_dim
        self.head = nn.Sequential(
            *(nn.Linear(d, d // 2), nn.Dropout(DROPOUT), nn.ReLU()),
            *(nn.Linear(d // 2, d // 2), nn.Dropout(DROPOUT), nn.ReLU()),
            nn.Linear(d // 2, n_out),
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Logits or predictions of windows.

        Parameters
        ----------
        windows : Tensor (B, n_rois * window)
            Scaled series, parcel by parcel; estimators receive flat features.

        Returns
        -------
        Tensor (B, n_out)
        """
        return self.head(self.embed(windows))

    def embed(self, windows: Tensor) -> Tensor:
        """The CLS token of windows.

        Parameters
        ----------
        windows : Tensor (B, n_rois * window)
            Scaled series, parcel by parcel.

        Returns
        -------
        Tensor (B, d)
        """
        coordinates: Tensor = self.get_buffer("coordinates")
        series = windows.unflatten(1, (len(coordinates), -1))
        if self.training or not self.model.is_reference:
            return self.model.encode(series, coordinates)
        parts = []  # reference mode draws a token order: in tests the same one for all scans
        with torch.random.fork_rng(devices=[]):
            for one in series:
                torch.default_generator.manual_seed(0)
                parts.append(self.model.encode(one[None], coordinates))
        return torch.cat(parts)
