"""The parcellation: labels, voxels and their source.

The published Schaefer atlas is read from a path, from nilearn's cache or from a verified download.
Only synthetic data may use the approximation `VORONOI`; with real data an error names the remedies.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from brainmass_core.atlas.labels import (
    AtlasError,
    complete,
    digest,
    digest_of,
    network_of,
    published_labels,
    read_labels,
    read_lut,
)
from brainmass_core.atlas.schaefer import (
    PUBLISHED,
    SCHAEFER,
    SHA256,
    SPACE_OF,
    VORONOI,
    VORONOI_SPACE,
    check_order,
    schaefer_file,
    voronoi_image,
)
from brainmass_core.config import Config
from brainmass_core.spaces import FSL, SpaceError, agreed, space_name, space_of_file

__all__ = [
    "PUBLISHED",
    "SHA256",
    "VORONOI",
    "Atlas",
    "AtlasError",
    "atlas_from_image",
    "digest_of",
    "network_of",
    "published_labels",
    "read_labels",
    "read_lut",
    "resolve_atlas",
    "space_of_atlas",
    "voronoi_atlas",
    "voronoi_image",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Atlas:
    """A parcellation.

    Attributes
    ----------
    name : str
        Written to every result; `VORONOI` for the approximation.
    space : str or None
        TemplateFlow name of the space of its image and centroids; None if it is unknown and no
        image is used.
    labels : DataFrame (n_rois rows)
        index (value in the image), name, network (empty if unknown), x, y, z (centroid, mm, RAS).
    image : Path or None
        Label image; None for the approximation, and for ready time series.
    approximate : bool
        Whether this is the approximation for synthetic data.
    sha256 : str
        Of shape, affine and voxels; of the label table if there is no image.
    """

    name: str
    space: str | None
    labels: pd.DataFrame
    image: Path | None
    approximate: bool
    sha256: str

    @property
    def n_rois(self) -> int:
        """Number of parcels."""
        return len(self.labels)

    def load(self) -> nib.Nifti1Image:
        """The label image, int32.

        Raises
        ------
        AtlasError
            If there is none, or it cannot be read.
        """
        if self.approximate:
            return voronoi_image()
        if self.image is None:
            raise AtlasError(
                f"the atlas {self.name} has no label image, which is needed for images; give "
                "atlas.path"
            )
        return read_labels(self.image)


def resolve_atlas(config: Config, allow_approximate: bool | None = None) -> Atlas:
    """Find the atlas of a configuration.

    Parameters
    ----------
    allow_approximate : bool, optional
        Whether `VORONOI` may replace the Schaefer-100 atlas. Default: if all data sets of images
        are synthetic.

    Raises
    ------
    AtlasError
        If the atlas is not available or cannot be used, with the remedies; or if images are to be
        parcellated and its space is unknown.
    """
    images = [d for d in config.datasets.values() if d.kind != "timeseries"]
    if allow_approximate is None:
        allow_approximate = bool(images) and all(d.synthetic for d in images)
    atlas = _resolve(config, bool(images), allow_approximate)
    wanted = config.atlas.n_rois
    if wanted is not None and wanted != atlas.n_rois:
        raise AtlasError(
            f"atlas.n_rois is {wanted}, but {atlas.name} has {atlas.n_rois} parcels; correct or "
            "remove atlas.n_rois"
        )
    return atlas


def _resolve(config: Config, images: bool, allow_approximate: bool) -> Atlas:
    section = config.atlas
    lut = read_lut(section.labels) if section.labels else None
    if section.path:
        return atlas_from_image(section.path, section.name, section.space, lut, images)
    if not images:
        return _without_image(config, lut)
    match = SCHAEFER.match(section.name)
    if not match:
        raise AtlasError(
            f"atlas.name is {section.name!r} and no atlas.path is given: give the label image as "
            "atlas.path, or choose a name such as Schaefer2018-100-7networks"
        )
    n_rois, networks = int(match[1]), int(match[2])
    try:
        path = schaefer_file(n_rois, networks)
    except AtlasError as error:
        if not (allow_approximate and (n_rois, networks) == (100, 7)):
            raise
        log.warning("%s\nSynthetic data only: using the approximation %s.", error, VORONOI)
        _agreed({"atlas.space": section.space, VORONOI: VORONOI_SPACE}, f"atlas {section.name}")
        return voronoi_atlas()
    atlas = atlas_from_image(path, section.name, section.space, lut)
    _check_schaefer(atlas, n_rois, path)
    return atlas


def space_of_atlas(config: Config) -> str:
    """Space of the atlas of a configuration with images, without searching for the atlas.

    Raises
    ------
    AtlasError
        If ``atlas.path`` is given and its space is unknown, contradicts ``atlas.space``, or it
        cannot be read.
    """
    section = config.atlas
    if section.path is not None:
        named = _space_of(section.path, section.space, "", placed=False)
        if named is not None:
            return named
        return str(_space_of(section.path, None, digest_of(read_labels(section.path)), True))
    return section.space or FSL  # FSL's for the published Schaefer atlas; others need a path


def _without_image(config: Config, lut: pd.DataFrame | None) -> Atlas:
    """The atlas of ready time series: from a look-up table, the published one, or only numbers."""
    section = config.atlas
    if lut is None and section.name == PUBLISHED and section.n_rois in (None, 100):
        lut = published_labels()
    if lut is None:
        if section.n_rois is None:
            raise AtlasError(
                f"the number of parcels of atlas {section.name!r} is unknown: give atlas.n_rois, "
                "atlas.labels or atlas.path"
            )
        index = np.arange(1, section.n_rois + 1)
        lut = pd.DataFrame({"index": index, "name": [f"roi-{i}" for i in index]})
    if not lut["index"].is_monotonic_increasing:
        log.info("%s: its rows are sorted by index, the order of parcels", section.labels)
        lut = lut.sort_values("index")
    lut = complete(lut)
    space = section.space or (FSL if section.name == PUBLISHED and not section.labels else None)
    return Atlas(section.name, space, lut, None, False, digest(lut.to_csv().encode()))


def atlas_from_image(
    path: Path,
    name: str,
    space: str | None = None,
    lut: pd.DataFrame | None = None,
    placed: bool = True,
) -> Atlas:
    """Make an atlas from any label image.

    Parameters
    ----------
    path : Path
        3-D image of integers, 0 outside the parcels.
    space : str, optional
        Its space. Default: from its checksum or its name (``tpl-``, ``space-``, FSLMNI152).
    lut : DataFrame, optional
        Result of `read_lut`; rows whose value is not in the image are ignored.
    placed : bool
        Whether its space must be known, which is needed for parcellating images.

    Raises
    ------
    AtlasError
        If the image is not a label image, a label has no row in `lut`, or its space is unknown or
        contradictory.
    """
    image = read_labels(path)
    data = np.asarray(image.dataobj)
    values = np.unique(data[data != 0])
    published = lut is None and name == PUBLISHED
    if published:
        lut = published_labels().drop(columns=["x", "y", "z"])
    if lut is None:
        lut = pd.DataFrame({"index": values, "name": [f"roi-{v}" for v in values]})
    missing = sorted(set(values.tolist()) - set(lut["index"]))
    if missing:
        raise AtlasError(
            f"{path}: the labels {missing[:10]} ({len(missing)} in all) have no row in the "
            "look-up table atlas.labels; add them"
        )
    lut = lut[lut["index"].isin(values)].sort_values("index").reset_index(drop=True)
    if "x" not in lut:
        from scipy.ndimage import center_of_mass

        centres = center_of_mass(np.ones(data.shape), data, lut["index"].to_numpy())
        xyz = nib.affines.apply_affine(image.affine, np.array(centres))
        lut = lut.assign(x=xyz[:, 0], y=xyz[:, 1], z=xyz[:, 2])
    if published:
        check_order(lut, path)
    sha256 = digest_of(image)
    there = _space_of(Path(path), space, sha256, placed)
    return Atlas(name, there, complete(lut), Path(path), False, sha256)


def _space_of(path: Path, given: str | None, sha256: str, placed: bool) -> str | None:
    """Space of a label image from the configuration, its checksum and its name."""
    try:
        said = {
            "atlas.space": given and space_name(given),
            "its checksum": SPACE_OF.get(sha256),
            "its name": space_of_file(path),
        }
    except SpaceError as error:
        raise AtlasError(str(error)) from None
    if not placed and not any(said.values()):
        return None
    return _agreed(said, str(path))


def _agreed(said: dict[str, str | None], what: str) -> str:
    try:
        return agreed(said, what, "name it as atlas.space")
    except SpaceError as error:
        raise AtlasError(str(error)) from None


def _check_schaefer(atlas: Atlas, n_rois: int, path: Path) -> None:
    expected = SHA256.get(atlas.name)
    if atlas.n_rois != n_rois or (expected and atlas.sha256 != expected):
        raise AtlasError(
            f"{path}: found {atlas.n_rois} labels with checksum {atlas.sha256}, expected {n_rois} "
            f"with {expected or 'any'}: the download is damaged; remove the file and run again, "
            "or give an intact one as atlas.path"
        )


def voronoi_atlas() -> Atlas:
    """The approximation of Schaefer-100 for synthetic data; see `voronoi_image`."""
    digest = digest_of(voronoi_image())
    return Atlas(VORONOI, VORONOI_SPACE, complete(published_labels()), None, True, digest)
