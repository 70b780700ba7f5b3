"""BrainLM with a token for each parcel and 20 timepoints (Ortega Caro et al., ICLR 2024).

A masked autoencoder of time series. A token is a segment of one parcel's series; embeddings of the
parcel's position and of the segment's time are added to it. Hidden tokens are predicted from the
visible ones. The larger models with this name have another architecture: `vit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmass_core.encoders.brainlm.decoders import Decoder, Places
from brainmass_core.encoders.brainlm.layers import EPS, Attention, PostNormLayer, initialise
from brainmass_core.encoders.brainlm.sizes import BrainLMSize
from brainmass_core.models.series import Mask, SeriesModel, check_input, check_steps
from brainmass_core.models.tokens import (
    hidden_of,
    mask_of,
    put_back,
    take,
)

COORDINATE_SCALE = 60.0  # mm: typical distance of a parcel from the origin


SIZES = {
    "tiny": BrainLMSize(64, 2, 2, 128, 1, 2, 128),  # for tests and the demo; not published
    "brainlm-13m": BrainLMSize(512, 4, 4, 1024, 2, 4, 1024),
}


class BrainLM(SeriesModel):
    """Encoder and decoder of masked time series.

    Parameters
    ----------
    size : {"tiny", "brainlm-13m"} or mapping
        A name, or the fields of `BrainLMSize`.
    mode : {"corrected", "reference"}
        `reference` is the released code: visible tokens enter in random order, which affects the
        convolution in a layer; coordinates are in millimetres; the number of visible tokens is
        truncated. `corrected`: natural order, coordinates / 60, number of hidden tokens rounded.
    dropout : float
        Dropout of the two branches of a layer.
    embedding_dropout : float
        Dropout of the embedded tokens, in the encoder and in the decoder.

    Raises
    ------
    ValueError
        If size or mode are unknown.
    """

    SIZES = SIZES

    def __init__(
        self,
        size: str | Mapping[str, int],
        mode: str = "corrected",
        dropout: float = 0.0,
        embedding_dropout: float = 0.1,
    ) -> None:
        super().__init__(size, mode)
        shape: BrainLMSize = self.shape
        d, scale = shape.width, 1.0 if self.is_reference else COORDINATE_SCALE
        self.signal = nn.Linear(shape.patch, d)
        self.places = Places(d, scale, embedding_dropout)
        self.cls_token = nn.Parameter(torch.empty(d))
        self.layers = nn.ModuleList(
            PostNormLayer(d, shape.heads, shape.feedforward, dropout) for _ in range(shape.depth)
        )
        self.norm = nn.LayerNorm(d, eps=EPS)
        self.decoder = Decoder(shape, scale, dropout, embedding_dropout)
        for part in (self.signal, self.places, self.layers):
            initialise(part, "normal")
        initialise(self.decoder, "xavier")
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.decoder.mask_token, std=0.02)

    @property
    def token_steps(self) -> int:
        """Number of timepoints per token; each token belongs to one parcel."""
        return self.shape.patch

    def patches(self, series: Tensor) -> Tensor:
        """Cut series into the segments of the tokens.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)

        Returns
        -------
        Tensor (B, n_rois, n_patches, patch)

        Raises
        ------
        ValueError
            If the timepoints are not a multiple of the patch.
        """
        self._n_patches(series.shape[-1])
        return series.unflatten(2, (-1, self.shape.patch))

    def n_tokens(self, n_rois: int, n_timepoints: int) -> int:
        """Number of tokens of a sample.

        Raises
        ------
        ValueError
            If the timepoints are not a multiple of the patch.
        """
        return n_rois * self._n_patches(n_timepoints)

    def future_mask(self, batch: int, n_rois: int, n_timepoints: int, steps: int) -> Mask:
        """A mask that hides the last `steps` timepoints.

        Raises
        ------
        ValueError
            If the steps are not a multiple of the patch, or are all timepoints.
        """
        check_steps(steps, n_timepoints)
        n, hidden = self._n_patches(n_timepoints), self._n_patches(steps)
        visible = torch.arange(n_rois * n).view(n_rois, n)[:, : n - hidden]
        return Mask(visible.flatten().expand(batch, -1), steps)

    def tokens(
        self, series: Tensor, coordinates: Tensor, order: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embedding and tokens of series with nothing hidden.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.
        order : Tensor (B, n_tokens), optional
            Order in which tokens enter. Default: the natural order; in reference mode a random one,
            as in the released code, so that two calls differ.

        Returns
        -------
        cls : Tensor (B, d)
        tokens : Tensor (B, n_tokens, d)
            In natural order: parcel by parcel.
        """
        patches = self.patches(series)
        shape = (len(patches), patches.shape[1] * patches.shape[2])
        if order is None:
            noise = torch.rand(shape) if self.is_reference else torch.arange(shape[1])
            order = noise.expand(shape).argsort(dim=1).to(series.device)
        latent = self._encode(patches, coordinates, order)
        natural = put_back(latent[:, 1:], order, self.cls_token, shape[1])  # all tokens are visible
        return latent[:, 0], natural

    def encode_in_order(self, series: Tensor, coordinates: Tensor) -> Tensor:
        """The embedding with tokens in natural order, also in reference mode.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.

        Returns
        -------
        Tensor (B, d)
        """
        n = self.n_tokens(*series.shape[1:])
        order = torch.arange(n, device=series.device).expand(len(series), -1)
        return self.tokens(series, coordinates, order)[0]

    def cls_attention(self, series: Tensor, coordinates: Tensor) -> Tensor:
        """Attention of the CLS token to each parcel in the last layer.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
            Nothing is hidden.
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.

        Returns
        -------
        Tensor (B, n_rois)
            Mean over heads, sum over the patches of a parcel. With the attention to the CLS token
            itself, the sum over parcels is 1.
        """
        x, attention = self.before_last(series, coordinates)
        first = torch.zeros(len(x), 1, dtype=torch.long, device=x.device)
        weights = attention.weights(x, first)  # (B, heads, 1, 1 + n)
        return weights.mean(1)[:, 0, 1:].unflatten(1, (series.shape[1], -1)).sum(2)

    def before_last(self, series: Tensor, coordinates: Tensor) -> tuple[Tensor, Attention]:
        """Input of the last layer, and its attention module.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
            Nothing is hidden.
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.

        Returns
        -------
        x : Tensor (B, 1 + n_tokens, d)
            CLS, then the tokens in natural order, parcel by parcel.
        attention : Attention
        """
        patches = self.patches(series)
        n = patches.shape[1] * patches.shape[2]
        order = torch.arange(n, device=series.device).expand(len(series), -1)
        x = self._embed(patches, coordinates, order)
        *layers, last = self.layers
        for layer in layers:
            x = layer(x)
        assert isinstance(last, PostNormLayer)
        return x, last.attention

    def reconstruct(self, series: Tensor, coordinates: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Prediction of all tokens from the visible ones.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.
        mask : Mask

        Returns
        -------
        predicted : Tensor (B, n_rois, n_patches, patch)
            In the unit of the series.
        hidden : Tensor (B, n_rois, n_patches)
            1 where a token was hidden.
        """
        patches = self.patches(series)
        grid = patches.shape[1:3]
        latent = self._encode(patches, coordinates, mask.visible)
        predicted = self.decoder(latent, coordinates, mask.visible, grid)
        hidden = mask_of(mask.visible, grid[0] * grid[1])
        return predicted.unflatten(1, grid), hidden.unflatten(1, grid)

    def forward(self, series: Tensor, coordinates: Tensor, mask: Mask) -> dict[str, Tensor]:
        """The loss of one batch; only hidden tokens are predicted.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.

        Returns
        -------
        dict of Tensor
            ``reconstruction``, the mean squared error of the hidden values, and, detached, their
            ``variance`` and the ``embedding`` (B, d).
        """
        patches = self.patches(series)
        grid = patches.shape[1:3]
        latent = self._encode(patches, coordinates, mask.visible)
        rows = hidden_of(mask.visible, grid[0] * grid[1])
        predicted = self.decoder(latent, coordinates, mask.visible, grid, rows)
        target = take(patches.flatten(1, 2), rows).float()
        return {
            "reconstruction": functional.mse_loss(predicted.float(), target),
            "variance": target.var(correction=0),
            "embedding": latent[:, 0].detach(),
        }

    def _n_patches(self, n_timepoints: int) -> int:
        patch = self.shape.patch
        n = n_timepoints // patch
        if n_timepoints != max(n, 1) * patch:
            nearest = f"{n * patch} or {(n + 1) * patch}" if n else f"{patch}"
            raise ValueError(
                f"found {n_timepoints} timepoints, expected a multiple of {patch}, the length of "
                f"a token: use {nearest}"
            )
        return n

    def _embed(self, patches: Tensor, coordinates: Tensor, visible: Tensor) -> Tensor:
        """Input of the first layer: CLS and visible tokens (B, 1 + n_visible, d)."""
        check_input(patches[..., 0], coordinates)
        x = self.places(self.signal(patches), coordinates).flatten(1, 2)
        cls = self.cls_token.to(x.dtype).expand(len(x), 1, -1)
        return torch.cat([cls, take(x, visible)], dim=1)

    def _encode(self, patches: Tensor, coordinates: Tensor, visible: Tensor) -> Tensor:
        x = self._embed(patches, coordinates, visible)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


def build(
    size: str | Mapping[str, int], seed: int, mode: str = "corrected", **settings: Any
) -> BrainLM:
    """Build a model with initial weights from `seed`, without changing the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BrainLM(size, mode, **settings)
