"""A BrainLM under a head, all of it trained in every fold, through the loop of all networks.

It sees one window of each recording, its first, with nothing hidden, in training and in test, so
that predictions are not random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from brainmass_core.config import Config
from brainmass_core.finetune.methods.estimators import Setting
from brainmass_core.finetune.methods.families import unfitted
from brainmass_core.finetune.methods.neural import NetworkClassifier, NetworkRegressor, device
from brainmass_core.finetune.methods.recordings import feed_of, folder_of
from brainmass_core.models.brainlm import BrainLM
from brainmass_core.models.brainlm_series import SeriesModel
from brainmass_core.models.brainlm_vit import BrainLMViT
from brainmass_core.pretrain.brainlm import BrainLMFamily

DROPOUT = 0.4  # of the head, as published
ARCHITECTURES: dict[str, type[BrainLM] | type[BrainLMViT]] = {
    "BrainLM": BrainLM,
    "BrainLMViT": BrainLMViT,
}


@dataclass(frozen=True)
class SeriesFineTune:
    """See the module.

    Attributes
    ----------
    config : Config
        Of the study, which names the model.
    pretrained : bool
        False: the same architecture with its initial weights, as the control.
    lr : float
    """

    knob: ClassVar[str] = "neural.finetune_lr"
    config: Config
    pretrained: bool
    lr: float = 1e-4
    standardise: bool = False

    def build(self, n_rois: int, n_out: int) -> nn.Module:
        """Encoder and head."""
        model = BrainLMFamily().build(self.config, n_rois)  # with its dropout
        if self.pretrained:
            stored = type(model).from_pretrained(folder_of(self.config))
            model.load_state_dict(stored.state_dict())
        coordinates = torch.from_numpy(feed_of(self.config).coordinates)
        return AdaptedSeries(model, coordinates, n_out)

    def finish(self, network: nn.Module) -> nn.Module:
        """The same."""
        return network


@dataclass(frozen=True)
class SeriesArchitecture:
    """What builds such a network without its study, to be given weights.

    Attributes
    ----------
    architecture : str
        Key of `ARCHITECTURES`.
    size, mode
        See `SeriesModel`.
    n_rois : int
        Parcels; where they lie is among the weights.
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
        """That of a trained one."""
        model = network.model
        n_rois = len(network.get_buffer("coordinates"))
        return cls(type(model).__name__, model.size, model.mode, n_rois, lr)

    def build(self, n_rois: int, n_out: int) -> nn.Module:
        """Encoder and head, the weights of no account."""
        model = ARCHITECTURES[self.architecture](self.size, self.mode)
        return AdaptedSeries(model, torch.zeros(self.n_rois, 3), n_out)

    def finish(self, network: nn.Module) -> nn.Module:
        """The same."""
        return network


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
        """(B, n_rois * window) to (B, n_out)."""
        return self.head(self.embed(windows))

    def embed(self, windows: Tensor) -> Tensor:
        """(B, n_rois * window) to the CLS token (B, d)."""
        coordinates: Tensor = self.get_buffer("coordinates")
        series = windows.unflatten(1, (len(coordinates), -1))
        if self.training or not self.model.is_reference:
            return self.model.encode(series, coordinates)
        parts = []  # reference mode draws the order of the tokens: in a test the same for all scans
        with torch.random.fork_rng(devices=[]):
            for one in series:
                torch.default_generator.manual_seed(0)
                parts.append(self.model.encode(one[None], coordinates))
        return torch.cat(parts)


class _OfSeries:
    """Windows (n_scans, n_rois * window) in the place of FC."""

    def _n_rois(self, n_features: int) -> int:
        return 0  # a BrainLM is of any number

    def _matrices(self, X: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(X, np.float32)).to(device())


class SeriesClassifier(_OfSeries, NetworkClassifier):
    """See `NetworkClassifier`."""


class SeriesRegressor(_OfSeries, NetworkRegressor):
    """See `NetworkRegressor`."""


KINDS: dict[str, type[SeriesClassifier] | type[SeriesRegressor]] = {
    "classification": SeriesClassifier,
    "regression": SeriesRegressor,
}
SERIES_NETWORKS = {"untrained_brainlm_finetune": False, "brainlm_finetune": True}


def make_series_network(name: str, setting: Setting) -> SeriesClassifier | SeriesRegressor:
    """The unfitted estimator of a method on windows; see `families.make_network`.

    Raises
    ------
    ValueError
        If the setting has no configuration.
    """
    pretrained = SERIES_NETWORKS[name]
    return unfitted(
        name, setting, lambda c: SeriesFineTune(c, pretrained, c.neural.finetune_lr), KINDS
    )
