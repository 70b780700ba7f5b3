"""BrainLM as a vision transformer on images of parcels by time (the 111M and 650M models).

A masked autoencoder of patches (He et al. 2022, arXiv:2111.06377). Parcels are sorted from the back
of the brain to its front, the image is in the middle of a square, and a token is a patch of 16 (or
14) parcels and as many timepoints. The 13M model has another architecture: `model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmass_core.encoders.brainlm.decoders import CHANNELS, ImageDecoder
from brainmass_core.encoders.brainlm.layers import EPS, PreNormLayer, initialise
from brainmass_core.encoders.brainlm.sizes import BrainLMViTSize
from brainmass_core.models.series import Mask, SeriesModel, check_input, check_steps
from brainmass_core.models.tokens import (
    hidden_of,
    image_of,
    margins,
    mask_of,
    masked_loss,
    padded,
    patches_of,
    sinusoid_2d,
    take,
)

PADDING = -1.0
IMAGE_SCALE = 5.6430855  # divisor of the robust-scaled series, as in the released code


SIZES = {
    "tiny": BrainLMViTSize(64, 2, 4, 128, 16, 32, 1, 4, 64),  # for tests; not published
    "brainlm-111m": BrainLMViTSize(768, 12, 12, 3072, 16),
    "brainlm-650m": BrainLMViTSize(1280, 32, 16, 5120, 14),
}


class BrainLMViT(SeriesModel):
    """Encoder and decoder of a masked image of parcels by time.

    Series come scaled per parcel to a robust unit; the model divides them by `IMAGE_SCALE`.

    Parameters
    ----------
    size : {"tiny", "brainlm-111m", "brainlm-650m"} or mapping
        A name, or the fields of `BrainLMViTSize`.
    mode : {"corrected", "reference"}
        `reference` is the released code: patches with only padding, half of all, are tokens, and
        hiding the last timepoints hides complete patches, 28 or 23 timepoints instead of 20.
        `corrected`: only patches that contain data are tokens, and exactly the requested timepoints
        are hidden. Positions are the same.
    dropout : float
        Dropout of the two branches of a layer.

    Raises
    ------
    ValueError
        If size or mode are unknown.
    """

    SIZES = SIZES

    def __init__(
        self, size: str | Mapping[str, int], mode: str = "corrected", dropout: float = 0.0
    ) -> None:
        super().__init__(size, mode)
        s: BrainLMViTSize = self.shape
        self.embed = nn.Conv2d(CHANNELS, s.width, s.patch, s.patch)
        self.cls_token = nn.Parameter(torch.empty(s.width))
        self.layers = nn.ModuleList(
            PreNormLayer(s.width, s.heads, s.feedforward, dropout) for _ in range(s.depth)
        )
        self.norm = nn.LayerNorm(s.width, eps=EPS)
        self.decoder = ImageDecoder(s, dropout)
        initialise(self, "normal")
        for token in (self.embed.weight, self.cls_token, self.decoder.mask_token):
            nn.init.normal_(token, std=0.02)
        nn.init.zeros_(self.embed.bias)  # type: ignore[arg-type]

    def side(self, n_rois: int, n_timepoints: int) -> int:
        """Side of the square around an image, in complete patches."""
        patch = self.shape.patch
        return -(-max(n_rois, n_timepoints) // patch) * patch

    def slots(self, n_rois: int, n_timepoints: int) -> Tensor:
        """Which patches of the square around an image are tokens.

        Returns
        -------
        Tensor (n_tokens,) of int64
            Row-major indices. In reference mode all patches of the square, otherwise those that
            contain data.
        """
        patch, side = self.shape.patch, self.side(n_rois, n_timepoints)
        if self.is_reference:
            return torch.arange((side // patch) ** 2)
        before = (margins(n, side)[0] for n in (n_rois, n_timepoints))
        rows, columns = (
            torch.arange(start // patch, -(-(start + n) // patch))
            for start, n in zip(before, (n_rois, n_timepoints), strict=True)
        )
        return (rows[:, None] * (side // patch) + columns).flatten()

    def n_tokens(self, n_rois: int, n_timepoints: int) -> int:
        """Tokens of a sample."""
        return len(self.slots(n_rois, n_timepoints))

    def future_mask(self, batch: int, n_rois: int, n_timepoints: int, steps: int) -> Mask:
        """A mask that hides the last `steps` timepoints.

        In reference mode, patches with any of these timepoints are hidden completely. In corrected
        mode, patches with only these timepoints are hidden, and only these timepoints in the
        others.

        Raises
        ------
        ValueError
            If the steps are none or all.
        """
        check_steps(steps, n_timepoints)
        patch, side = self.shape.patch, self.side(n_rois, n_timepoints)
        left = margins(n_timepoints, side)[0]
        begin, end = left + n_timepoints - steps, left + n_timepoints
        start = begin // patch if self.is_reference else -(-begin // patch)
        slots = self.slots(n_rois, n_timepoints)
        column = slots % (side // patch)
        seen = ((column < start) | (column >= -(-end // patch))).nonzero()[:, 0]
        return Mask(seen.expand(batch, -1), 0 if self.is_reference else steps)

    def tokens(self, series: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """CLS token and tokens of series with nothing hidden.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm; only the order of Y is used.

        Returns
        -------
        cls : Tensor (B, d)
        tokens : Tensor (B, n_tokens, d)
            In the order of `slots`; a token contains several parcels and timepoints.
        """
        image = self.image(series, coordinates)
        latent = self._encode(self._patches(image, PADDING), image.shape)
        return latent[:, 0], latent[:, 1:]

    def image(self, series: Tensor, coordinates: Tensor) -> Tensor:
        """Series as an image: rows sorted by Y, values divided by `IMAGE_SCALE`.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm; parcels with the same Y keep their order.

        Returns
        -------
        Tensor (B, n_rois, n_timepoints)

        Raises
        ------
        ValueError
            If a shape is wrong, see `check_input`.
        """
        check_input(series, coordinates)
        return series[:, order_of(coordinates).to(series.device)] / IMAGE_SCALE

    def reconstruct(self, series: Tensor, coordinates: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Prediction of all values from the visible ones, in the order and unit of the series.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.
        mask : Mask

        Returns
        -------
        predicted : Tensor (B, n_rois, n_timepoints)
        hidden : Tensor (B, n_rois, n_timepoints)
            1 where a value was hidden.
        """
        image = self.image(series, coordinates)
        latent, visible = self._visible(image, mask)
        predicted = self.decoder(latent, visible, *self._places(image.shape))
        back = order_of(coordinates).argsort().to(series.device)
        hidden = self._hidden(image, mask)[1]
        whole = [self._image(t, image.shape)[:, back] for t in (predicted, hidden)]
        return whole[0] * IMAGE_SCALE, whole[1]

    def forward(self, series: Tensor, coordinates: Tensor, mask: Mask) -> dict[str, Tensor]:
        """The loss of one batch, without padding.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.

        Returns
        -------
        dict of Tensor
            ``reconstruction``, the mean squared error of the hidden values in units of the image,
            and, detached, their ``variance`` and the ``embedding`` (B, d).
        """
        image = self.image(series, coordinates)
        latent, visible = self._visible(image, mask)
        target, hidden = self._hidden(image, mask)
        rows = None
        if not mask.last:  # all hidden values are in hidden tokens
            rows = hidden_of(visible, target.shape[1])
            target, hidden = take(target, rows), take(hidden, rows)
        predicted = self.decoder(latent, visible, *self._places(image.shape), rows).float()
        return {
            "reconstruction": masked_loss(predicted, target, hidden),
            "variance": masked_loss((target * hidden).sum() / hidden.sum(), target, hidden),
            "embedding": latent[:, 0].detach(),
        }

    def _hidden(self, image: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Values, and 1 for hidden data values and 0 otherwise; both (B, n_tokens, patch²)."""
        target = self._patches(image, 0.0).float()
        of_tokens = mask_of(mask.visible, target.shape[1])[..., None]
        data = torch.ones_like(image[:1])
        late = torch.zeros_like(data)
        late[..., image.shape[2] - mask.last :] = 1
        valid, late = (self._patches(t, 0.0) for t in (data, late))
        return target, torch.maximum(of_tokens * valid, late)

    def _visible(self, image: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Encoded CLS and visible tokens, with the indices of the tokens."""
        seen = image
        if mask.last:
            seen = image.clone()
            seen[..., image.shape[2] - mask.last :] = 0
        return self._encode(self._patches(seen, PADDING), image.shape, mask.visible), mask.visible

    def _patches(self, image: Tensor, padding: float) -> Tensor:
        """Image (B, n_rois, n_timepoints) to its tokens (B, n_tokens, patch²)."""
        patches = patches_of(padded(image, self.side(*image.shape[1:]), padding), self.shape.patch)
        return patches[:, self.slots(*image.shape[1:]).to(image.device)]

    def _image(self, patches: Tensor, shape: torch.Size) -> Tensor:
        """Inverse of `_patches` for an image of this shape; padding is removed."""
        side, slots = self.side(*shape[1:]), self.slots(*shape[1:]).to(patches.device)
        whole = patches.new_zeros(len(patches), (side // self.shape.patch) ** 2, patches.shape[2])
        square = image_of(whole.index_copy(1, slots, patches), self.shape.patch)
        top, left = (margins(n, side)[0] for n in shape[1:])
        return square[:, top : top + shape[1], left : left + shape[2]]

    def _places(self, shape: torch.Size) -> tuple[int, Tensor]:
        """Number of patches along a side of the square, and indices of those that are tokens."""
        return self.side(*shape[1:]) // self.shape.patch, self.slots(*shape[1:])

    def _encode(self, patches: Tensor, shape: torch.Size, visible: Tensor | None = None) -> Tensor:
        """CLS and visible tokens (B, 1 + n_visible, d)."""
        side, slots = self._places(shape)
        # the channels are identical, so their filters are summed
        x = functional.linear(patches, self.embed.weight.sum(1).flatten(1), self.embed.bias)
        x = x + sinusoid_2d(side, self.shape.width)[slots].to(x.device)
        cls = self.cls_token.to(x.dtype).expand(len(x), 1, -1)  # its position is 0
        x = torch.cat([cls, x if visible is None else take(x, visible)], dim=1)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


def order_of(coordinates: Tensor) -> Tensor:
    """Parcel indices (n_rois,) sorted by Y, back to front; the sort is stable.

    Parameters
    ----------
    coordinates : Tensor (n_rois, 3)
        mm; Y runs from posterior to anterior.

    Returns
    -------
    Tensor (n_rois,) of int64
    """
    return coordinates[:, 1].argsort(stable=True)


def build(
    size: str | Mapping[str, int], seed: int, mode: str = "corrected", **settings: Any
) -> BrainLMViT:
    """Build a model with initial weights from `seed`, without changing the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BrainLMViT(size, mode, **settings)
