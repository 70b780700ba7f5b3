"""Shapes of the two BrainLMs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BrainLMSize:
    """Shape of a BrainLM with a token for each parcel and segment: `model`.

    Attributes
    ----------
    patch : int
        Timepoints per token.
    """

    width: int
    depth: int
    heads: int
    feedforward: int
    decoder_depth: int
    decoder_heads: int
    decoder_feedforward: int
    patch: int = 20


@dataclass(frozen=True)
class BrainLMViTSize:
    """Shape of a BrainLM as a vision transformer: `vit`.

    Attributes
    ----------
    patch : int
        Parcels, and timepoints, per token.
    """

    width: int
    depth: int
    heads: int
    feedforward: int
    patch: int
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    decoder_feedforward: int = 2048
