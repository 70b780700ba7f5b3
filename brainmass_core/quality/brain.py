"""Images for visual checks of brain masks and registrations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine

from brainmass_core.preprocess.anatomical.segmentation import FLUID, WHITE
from brainmass_core.preprocess.anatomical.template import Template
from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.transforms import Distortion, Normalisation
from brainmass_core.quality.cuts import Cut, bright, coloured, cuts_of, grey, outlined, sample
from brainmass_core.quality.embed import photo

BRAIN, WHITE_MATTER, VENTRICLE = "#ff4b4b", "#ffd633", "#4fc3ff"
PALETTE = "viridis"


@dataclass(frozen=True)
class Tile:
    """One slice on the page.

    Attributes
    ----------
    name : str
        Position of the slice.
    frames : tuple of str
        Data URIs; two alternate.
    """

    name: str
    frames: tuple[str, ...]


@dataclass(frozen=True)
class Head:
    """T1w of the participant.

    Attributes
    ----------
    t1w : Volume (x, y, z)
    tissue : Volume (x, y, z)
        0 outside the brain, 1 grey matter, 2 white matter, 3 CSF; on the grid of `t1w`.
    """

    t1w: Volume
    tissue: Volume

    @property
    def top(self) -> float:
        """The intensity that is displayed as white."""
        return bright(self.t1w, self.tissue.data > 0)

    def share(self, *labels: int) -> Volume:
        """Mask of these tissues; of all tissues by default."""
        data = self.tissue.data
        inside = np.isin(data, labels) if labels else data > 0
        return self.tissue.with_data(inside.astype(np.float32))


def outlines(head: Head) -> list[Tile]:
    """T1w with outlines of brain, white matter and CSF."""
    brain, white, fluid = head.share(), head.share(WHITE), head.share(FLUID)
    tiles = []
    for cut in cuts_of(brain):
        picture = grey(sample(head.t1w, cut), head.top)
        picture = outlined(picture, sample(fluid, cut), VENTRICLE)
        picture = outlined(picture, sample(white, cut), WHITE_MATTER)
        tiles.append(Tile(cut.name, (photo(outlined(picture, sample(brain, cut), BRAIN)),)))
    return tiles


def template_flicker(head: Head, template: Template, normalisation: Normalisation) -> list[Tile]:
    """T1w in template space and the template, each with the template's contours."""
    mask = template.brain.with_data(template.mask.astype(np.float32))
    white = template.brain.with_data(template.priors[..., 2] * template.mask)
    shade = bright(template.brain, template.mask)
    tiles = []
    for cut in cuts_of(mask):
        moved = grey(sample(head.t1w, cut, normalisation.template_to_t1w), head.top)
        model = grey(sample(template.brain, cut), shade)
        frames = [_contoured(p, cut, mask, white) for p in (moved, model)]
        tiles.append(Tile(cut.name, tuple(frames)))
    return tiles


def bold_flicker(
    head: Head, boldref: Volume, t1w_to_boldref: np.ndarray, distortion: Distortion | None
) -> list[Tile]:
    """BOLD reference resampled to the T1w, and the T1w, with outlines of brain and white matter.

    Parameters
    ----------
    t1w_to_boldref : ndarray (4, 4)
        mm.
    distortion : Distortion, optional
        Of the reference.

    Returns
    -------
    list of Tile
    """

    def to_bold(points: np.ndarray) -> np.ndarray:
        there = apply_affine(t1w_to_boldref, points)
        return there if distortion is None else distortion.to_distorted(there)

    brain, white = head.share(), head.share(WHITE)
    cuts = cuts_of(brain)
    pulled = [sample(boldref, cut, to_bold) for cut in cuts]
    lit = np.concatenate([p[sample(brain, c) > 0.5] for p, c in zip(pulled, cuts, strict=True)])
    shade = float(np.percentile(lit, 99.5)) if len(lit) else 1.0
    tiles = []
    for cut, values in zip(cuts, pulled, strict=True):
        pictures = grey(values, shade), grey(sample(head.t1w, cut), head.top)
        frames = [_contoured(p, cut, brain, white) for p in pictures]
        tiles.append(Tile(cut.name, tuple(frames)))
    return tiles


def _contoured(picture: np.ndarray, cut: Cut, brain: Volume, white: Volume) -> str:
    picture = outlined(picture, sample(white, cut), WHITE_MATTER)
    return photo(outlined(picture, sample(brain, cut), BRAIN))


def tsnr_tiles(tsnr: Volume) -> tuple[list[Tile], float]:
    """Temporal signal-to-noise ratio of each voxel; returns the tiles and the maximum of the
    scale."""
    inside = tsnr.data > 0
    top = float(np.percentile(tsnr.data[inside], 98)) if inside.any() else 1.0
    brain = tsnr.with_data(inside.astype(np.float32))
    return [
        Tile(cut.name, (photo(coloured(sample(tsnr, cut), top, PALETTE)),))
        for cut in cuts_of(brain)
    ], top


def mask_tiles(boldref: Volume, mask: Volume) -> list[Tile]:
    """The BOLD reference with its brain mask, on its own grid."""
    shade = bright(boldref, mask.data > 0)
    share = mask.with_data((mask.data > 0).astype(np.float32))
    tiles = []
    for cut in cuts_of(share):
        picture = grey(sample(boldref, cut), shade)
        tiles.append(Tile(cut.name, (photo(outlined(picture, sample(share, cut), BRAIN)),)))
    return tiles
