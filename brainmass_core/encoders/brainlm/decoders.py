"""Decoders of the two BrainLMs: from the visible tokens to the values of all tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmass_core.encoders.brainlm.layers import EPS, PostNormLayer, PreNormLayer
from brainmass_core.encoders.brainlm.sizes import BrainLMSize, BrainLMViTSize
from brainmass_core.models.tokens import put_back, sinusoid_1d, sinusoid_2d

CHANNELS = 3  # identical channels, as the architecture is for RGB images


class Places(nn.Module):
    """Position embedding of a token: coordinates of its parcel and time of its segment.

    Parameters
    ----------
    scale : float
        Divisor of the coordinates (mm).
    """

    def __init__(self, width: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.scale = scale
        self.xyz = nn.Linear(3, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, coordinates: Tensor) -> Tensor:
        """Add position embeddings to tokens.

        Parameters
        ----------
        tokens : Tensor (B, n_rois, n_patches, d)
        coordinates : Tensor (n_rois, 3)
            In mm.

        Returns
        -------
        Tensor (B, n_rois, n_patches, d)
        """
        when = sinusoid_1d(tokens.shape[2], tokens.shape[3]).to(tokens.device)
        where = self.xyz(coordinates.to(self.xyz.weight) / self.scale)
        return self.dropout(tokens + where[:, None] + when)


class Decoder(nn.Module):
    """Decoder from the visible tokens to the values of all tokens, or of selected ones."""

    def __init__(
        self, shape: BrainLMSize, scale: float, dropout: float, embedding_dropout: float
    ) -> None:
        super().__init__()
        d, heads, feedforward = shape.width, shape.decoder_heads, shape.decoder_feedforward
        self.embed = nn.Linear(d, d)
        self.mask_token = nn.Parameter(torch.empty(d))
        self.places = Places(d, scale, embedding_dropout)
        self.layers = nn.ModuleList(
            PostNormLayer(d, heads, feedforward, dropout) for _ in range(shape.decoder_depth)
        )
        self.norm = nn.LayerNorm(d, eps=EPS)
        self.head = nn.Sequential(
            nn.Linear(d, d // 2), nn.LeakyReLU(0.1), nn.Linear(d // 2, shape.patch)
        )

    def forward(
        self,
        latent: Tensor,
        coordinates: Tensor,
        visible: Tensor,
        grid: torch.Size,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Predict the values of tokens.

        Parameters
        ----------
        latent : Tensor (B, 1 + n_visible, d)
            Encoded CLS and visible tokens.
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.
        visible : Tensor (B, n_visible) of int64
            Positions of the visible tokens, in the order of `latent`.
        grid : (n_rois, n_patches)
        rows : Tensor (B, m) of int64, optional
            Tokens whose values are needed; the last layer computes only these. Default: all.

        Returns
        -------
        Tensor (B, n_tokens, patch), or (B, m, patch) with `rows`
        """
        x = self.embed(latent)
        whole = put_back(x[:, 1:], visible, self.mask_token, grid[0] * grid[1])
        whole = self.places(whole.unflatten(1, grid), coordinates).flatten(1, 2)
        x = torch.cat([x[:, :1], whole], dim=1)
        *layers, last = self.layers
        for layer in layers:
            x = layer(x)
        x = last(x)[:, 1:] if rows is None else last(x, rows + 1)  # the CLS token comes first
        return self.head(self.norm(x))


class ImageDecoder(nn.Module):
    """Decoder from the visible tokens to the values of all tokens, or of selected ones."""

    def __init__(self, size: BrainLMViTSize, dropout: float) -> None:
        super().__init__()
        d = size.decoder_width
        self.embed = nn.Linear(size.width, d)
        self.mask_token = nn.Parameter(torch.empty(d))
        self.layers = nn.ModuleList(
            PreNormLayer(d, size.decoder_heads, size.decoder_feedforward, dropout)
            for _ in range(size.decoder_depth)
        )
        self.norm = nn.LayerNorm(d, eps=EPS)
        self.head = nn.Linear(d, size.patch**2 * CHANNELS)

    def forward(
        self, latent: Tensor, visible: Tensor, side: int, slots: Tensor, rows: Tensor | None = None
    ) -> Tensor:
        """Predict the values of tokens.

        Parameters
        ----------
        latent : Tensor (B, 1 + n_visible, d)
            Encoded CLS and visible tokens.
        visible : Tensor (B, n_visible) of int64
            Positions of the visible tokens among all tokens, in the order of `latent`.
        side : int
            Number of patches along a side of the square.
        slots : Tensor (n_tokens,) of int64
            Indices of the patches of the square that are tokens.
        rows : Tensor (B, m) of int64, optional
            Tokens whose values are needed; the last layer computes only these. Default: all.

        Returns
        -------
        Tensor (B, n_tokens, patch²), or (B, m, patch²) with `rows`
            Mean over the channels.
        """
        x = self.embed(latent)
        where = sinusoid_2d(side, x.shape[2])[slots].to(x.device)
        whole = put_back(x[:, 1:], visible, self.mask_token, len(slots)) + where
        x = torch.cat([x[:, :1], whole], dim=1)
        *layers, last = self.layers
        for layer in layers:
            x = layer(x)
        x = self.norm(last(x)[:, 1:] if rows is None else last(x, rows + 1))
        # mean over the channels, which vary fastest in the rows of the head
        weight, bias = (t.unflatten(0, (-1, CHANNELS)).mean(1) for t in self.head.parameters())
        return functional.linear(x, weight, bias)
