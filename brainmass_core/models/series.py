"""Models of parcel time series: from series and coordinates to an embedding or a loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from brainmass_core.models.pretrained import Pretrained
from brainmass_core.models.tokens import random_visible
from brainmass_core.readers.limits import quoted

MODES = ("corrected", "reference")


class Mask(NamedTuple):
    """The visible part of a batch.

    Attributes
    ----------
    visible : Tensor (B, n_visible), int64
        Visible tokens in the order in which they enter the encoder.
    last : int
        Number of timepoints at the end that are hidden in all parcels, regardless of tokens.
    """

    visible: Tensor
    last: int = 0


class SeriesModel(Pretrained):
    """A masked autoencoder of parcel time series.

    Parameters
    ----------
    size : str or mapping
        A name of `SIZES`, or the fields of its dataclass.
    mode : {"corrected", "reference"}

    Raises
    ------
    ValueError
        If size or mode are unknown, or the heads do not divide the width.
    """

    ARGUMENTS = ("size", "mode")
    SIZES: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, size: str | Mapping[str, int], mode: str) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"found mode {quoted(mode)}, expected one of {', '.join(MODES)}")
        self.shape = self._shape(size)
        self._check_heads()
        self.size = size if isinstance(size, str) else asdict(self.shape)
        self.mode = mode

    def _check_heads(self) -> None:
        shape = self.shape
        for heads, width in (
            ("heads", shape.width),
            ("decoder_heads", getattr(shape, "decoder_width", shape.width)),
        ):
            if width % getattr(shape, heads):
                raise ValueError(
                    f"size: found {heads} {getattr(shape, heads)}, expected a divisor of the width "
                    f"{width}"
                )

    @property
    def is_reference(self) -> bool:
        """Whether the released numerics are reproduced."""
        return self.mode == "reference"

    @property
    def embedding_dim(self) -> int:
        """Length of the embedding, which is the width of a token."""
        return self.shape.width

    @property
    def token_steps(self) -> int | None:
        """Number of timepoints per token if each token belongs to one parcel; otherwise None."""
        return None

    @abstractmethod
    def n_tokens(self, n_rois: int, n_timepoints: int) -> int:
        """Number of tokens of a sample."""

    def random_mask(
        self,
        batch: int,
        n_rois: int,
        n_timepoints: int,
        ratio: float,
        generator: torch.Generator | None = None,
    ) -> Mask:
        """A mask that hides `ratio` of the tokens, drawn for each sample.

        Parameters
        ----------
        batch, n_rois, n_timepoints : int
            Shape of the series.
        ratio : float
            Fraction of hidden tokens.
        generator : Generator, optional
            Default: torch's default generator.

        Returns
        -------
        Mask
            `visible` is (batch, n_visible).
        """
        noise = torch.rand(batch, self.n_tokens(n_rois, n_timepoints), generator=generator)
        return self.noise_mask(noise, ratio)

    def noise_mask(self, noise: Tensor, ratio: float) -> Mask:
        """A mask that hides the fraction `ratio` of the tokens with the largest noise.

        Parameters
        ----------
        noise : Tensor (B, n_tokens)
        """
        return Mask(random_visible(noise, ratio, self.is_reference))

    @abstractmethod
    def future_mask(self, batch: int, n_rois: int, n_timepoints: int, steps: int) -> Mask:
        """A mask that hides the last `steps` timepoints."""

    @abstractmethod
    def reconstruct(self, series: Tensor, coordinates: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Prediction of all values from the visible tokens.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.
        mask : Mask

        Returns
        -------
        predicted : Tensor (B, n_rois, n_timepoints) or (B, n_rois, n_patches, patch)
            The second shape if `token_steps` is set; `series_model.windows.predict_values` returns
            the first for all models.
        hidden : Tensor (B, n_rois, n_timepoints) or (B, n_rois, n_patches)
            1 where a value or token was hidden.
        """

    @abstractmethod
    def tokens(self, series: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """CLS token and tokens of series with nothing hidden.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.

        Returns
        -------
        cls : Tensor (B, d)
        tokens : Tensor (B, n_tokens, d)
        """

    def encode(self, series: Tensor, coordinates: Tensor) -> Tensor:
        """The embedding that downstream tasks use: the CLS token with nothing hidden.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.

        Returns
        -------
        Tensor (B, d)
        """
        return self.tokens(series, coordinates)[0]

    def encode_in_order(self, series: Tensor, coordinates: Tensor) -> Tensor:
        """The embedding with a fixed order of tokens, also for models that draw a random order.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.

        Returns
        -------
        Tensor (B, d)
        """
        return self.encode(series, coordinates)

    def before_last(self, series: Tensor, coordinates: Tensor) -> tuple[Tensor, Any]:
        """Input of the last layer, and its attention module; only for models with `token_steps`.

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
        attention : Module

        Raises
        ------
        NotImplementedError
            If tokens mix parcels.
        """
        raise NotImplementedError(f"tokens of {type(self).__name__} mix parcels")

    def cls_attention(self, series: Tensor, coordinates: Tensor) -> Tensor:
        """Attention of the CLS token to each parcel in the last layer; only with `token_steps`.

        Parameters
        ----------
        series : Tensor (B, n_rois, n_timepoints)
        coordinates : Tensor (n_rois, 3)
            MNI, in mm.

        Returns
        -------
        Tensor (B, n_rois)

        Raises
        ------
        NotImplementedError
            If tokens mix parcels.
        """
        raise NotImplementedError(f"tokens of {type(self).__name__} mix parcels")

    @classmethod
    def _shape(cls, size: str | Mapping[str, int]) -> Any:
        if isinstance(size, str):
            if size not in cls.SIZES:
                raise ValueError(
                    f"found size {quoted(size)}, expected one of {', '.join(cls.SIZES)}"
                )
            return cls.SIZES[size]
        kind = type(next(iter(cls.SIZES.values())))
        try:
            return kind(**size)
        except TypeError as error:
            raise ValueError(f"found a size {dict(size)}: {error}") from None


def check_input(series: Tensor, coordinates: Tensor) -> None:
    """Check the shapes of series (batch, parcels, timepoints) and coordinates (parcels, 3).

    Parameters
    ----------
    series : Tensor (B, n_rois, n_timepoints)
    coordinates : Tensor (n_rois, 3)

    Raises
    ------
    ValueError
        If a shape is wrong.
    """
    if series.ndim != 3:
        raise ValueError(
            f"found series of shape {tuple(series.shape)}, expected (batch, parcels, timepoints)"
        )
    if coordinates.shape != (series.shape[1], 3):
        raise ValueError(
            f"found coordinates of shape {tuple(coordinates.shape)}, expected "
            f"({series.shape[1]}, 3): one MNI triple in mm for each parcel of the series"
        )


def check_steps(steps: int, n_timepoints: int) -> None:
    """Refuse to hide no timepoints or the complete window."""
    if not 0 < steps < n_timepoints:
        raise ValueError(
            f"found {steps} timepoints to hide at the end, expected 1 to {n_timepoints - 1}"
        )
