"""The parcellation: which labels, which voxels, and where they come from.

The published Schaefer atlas is taken from a path, from nilearn's cache or from a checked download.
Only synthetic data may use the approximation `VORONOI`; real data stop with the remedies.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import pandas as pd
from filelock import FileLock
from nilearn import datasets
from scipy.ndimage import center_of_mass
from scipy.spatial import KDTree

from brainmass_core.config import Config

log = logging.getLogger(__name__)

VORONOI = "Schaefer2018-100-voronoi"
PUBLISHED = "Schaefer2018-100-7networks"
SCHAEFER = re.compile(r"^Schaefer2018-(\d+)-(7|17)networks$")
# of shape, affine and voxels, so that another compression of the same atlas passes
SHA256 = {PUBLISHED: "3a6a09d49f8a69e94f8e8170007b357debfa6d5512bf11a15c61f49d06bbca24"}
COLUMNS = ["index", "name", "network", "x", "y", "z"]
# farther from every cortical centroid lie the cerebellum and the deep nuclei
MAX_DISTANCE = 20.0
OFFLINE = "BRAINMASS_OFFLINE"
CBIG = "https://raw.githubusercontent.com/ThomasYeoLab/CBIG"


class AtlasError(ValueError):
    """An atlas that cannot be had or cannot be used."""


@dataclass(frozen=True)
class Atlas:
    """A parcellation.

    Attributes
    ----------
    name : str
        Written to every result; `VORONOI` for the approximation.
    space : str
        Template space of the label image.
    labels : DataFrame (n_rois rows)
        index (value in the image), name, network (empty if unknown), x, y, z (centroid, mm, RAS).
    image : Path or None
        Label image; None for the approximation, and for ready time series.
    approximate : bool
        Whether this is the approximation for synthetic data.
    sha256 : str
        Of shape, affine and voxels; of the label table when there is no image.
    """

    name: str
    space: str
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
                f"the atlas {self.name} has no label image, which images need; give atlas.path"
            )
        return read_labels(self.image)


def resolve_atlas(config: Config, allow_approximate: bool | None = None) -> Atlas:
    """Find the atlas of a configuration.

    Parameters
    ----------
    allow_approximate : bool, optional
        Whether `VORONOI` may stand in for the Schaefer-100 atlas. Default: when every data set of
        images is synthetic.

    Raises
    ------
    AtlasError
        If the atlas cannot be had, with the remedies, or cannot be used.
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
        return atlas_from_image(section.path, section.name, section.space, lut)
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
        return voronoi_atlas()
    atlas = atlas_from_image(path, section.name, section.space, lut)
    _check_schaefer(atlas, n_rois, path)
    return atlas


def _without_image(config: Config, lut: pd.DataFrame | None) -> Atlas:
    """The atlas of ready time series: the look-up table, the published one, or plain numbers."""
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
    lut = _complete(lut)
    return Atlas(section.name, section.space, lut, None, False, _digest(lut.to_csv().encode()))


def atlas_from_image(path: Path, name: str, space: str, lut: pd.DataFrame | None = None) -> Atlas:
    """Make an atlas of any label image.

    Parameters
    ----------
    path : Path
        3-D image of integers, 0 outside the parcels.
    lut : DataFrame, optional
        As `read_lut` gives it; rows whose value is not in the image are left out.

    Raises
    ------
    AtlasError
        If the image is no label image, or a label has no row in `lut`.
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
        centres = center_of_mass(np.ones(data.shape), data, lut["index"].to_numpy())
        xyz = nib.affines.apply_affine(image.affine, np.array(centres))
        lut = lut.assign(x=xyz[:, 0], y=xyz[:, 1], z=xyz[:, 2])
    if published:
        _check_order(lut, path)
    return Atlas(name, space, _complete(lut), Path(path), False, digest_of(image))


def _check_order(lut: pd.DataFrame, path: Path) -> None:
    """Refuse to give the published names to parcels that lie elsewhere."""
    both = lut.merge(published_labels(), on="index", suffixes=("", "_published"))
    axes = ["x", "y", "z"]
    away = np.linalg.norm(both[axes].to_numpy() - both[[f"{a}_published" for a in axes]], axis=1)
    if away.max() > 2 * MAX_DISTANCE or np.median(away) > MAX_DISTANCE / 2:
        raise AtlasError(
            f"{path}: its parcels lie {np.median(away):.0f} mm (median) from those of {PUBLISHED}, "
            "so it is another atlas; give its own atlas.name and atlas.labels"
        )


def read_labels(path: Path) -> nib.Nifti1Image:
    """Read a label image as int32.

    Raises
    ------
    AtlasError
        If it is unreadable, not 3-D, not of integers, negative or without labels.
    """
    try:
        image = cast(nib.Nifti1Image, nib.load(path))
        data = np.asanyarray(image.dataobj)
    except Exception as error:
        raise AtlasError(f"{path}: not a readable label image ({error}); check the file") from None
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise AtlasError(
            f"{path}: found shape {data.shape}, expected 3 dimensions; probabilistic atlases need "
            "to be made into one label per voxel first"
        )
    labels = np.rint(data)
    if not np.array_equal(labels, data) or labels.min() < 0:
        odd = data[(labels != data) | (data < 0)].ravel()[:3].tolist()
        raise AtlasError(
            f"{path}: found values such as {odd}, expected integers from 0; resample label images "
            "with nearest neighbour"
        )
    if np.unique(labels).size < 3:
        raise AtlasError(f"{path}: found fewer than two labels, expected one value per parcel")
    return nib.Nifti1Image(labels.astype(np.int32), image.affine)


def read_lut(path: Path) -> pd.DataFrame:
    """Read a look-up table of labels.

    Raises
    ------
    AtlasError
        If the columns ``index`` and ``name`` are missing, or an index stands twice.
    """
    lut = pd.read_csv(path, sep="," if Path(path).suffix == ".csv" else "\t")
    if not {"index", "name"} <= set(lut.columns):
        raise AtlasError(
            f"{path}: found columns {list(lut.columns)}, expected index and name, optionally "
            "network, x, y, z; rename the columns"
        )
    lut = lut[[c for c in COLUMNS if c in lut]]
    lut = lut[lut["index"] != 0].reset_index(drop=True)  # row 0 is the background
    double = lut["index"][lut["index"].duplicated()]
    if not double.empty:
        raise AtlasError(f"{path}: the index {double.tolist()} stands twice; keep one row of each")
    return lut


def network_of(name: str) -> str:
    """Network in a Schaefer-style label, ``7Networks_LH_Vis_1`` -> ``Vis``; empty if none."""
    match = re.match(r"^(?:\d+Networks_)?[LR]H_([A-Za-z]+)", name)
    return match[1] if match else ""


def published_labels() -> pd.DataFrame:
    """Labels, networks and centroids (mm, RAS) of Schaefer-100, 7 networks (CBIG, MIT)."""
    table = files("brainmass_core") / "data" / "schaefer2018_100_7networks.tsv"
    with table.open() as file:
        return pd.read_csv(file, sep="\t")


def schaefer_file(n_rois: int, networks: int) -> Path:
    """Label image of the Schaefer atlas at 2 mm: nilearn's cache, else a download.

    Raises
    ------
    AtlasError
        If it is not in the cache and cannot be downloaded, with three remedies.
    """
    name = f"Schaefer2018_{n_rois}Parcels_{networks}Networks_order_FSLMNI152_2mm.nii.gz"
    folders = [Path(d) / "schaefer_2018" for d in datasets.get_data_dirs()]
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    own = os.environ.get("NILEARN_DATA", "").split(os.pathsep)[0]
    folder = Path(own) / "schaefer_2018" if own else folders[-1]
    reason = _download(n_rois, networks, folder)
    if reason:
        raise AtlasError(
            f"the Schaefer atlas {name} is not on this machine and cannot be downloaded "
            f"({reason}). Either give the file as atlas.path; or put it at {folder / name}; "
            "or run once with a connection to the internet."
        )
    return folder / name


def _download(n_rois: int, networks: int, folder: Path) -> str:
    """Let nilearn download into its cache; the reason if that is impossible."""
    if os.environ.get(OFFLINE):
        return f"{OFFLINE} is set"
    try:
        # nilearn would wait for a minute where a firewall swallows packets
        probe = urllib.request.Request(f"{CBIG}/master/README.md", method="HEAD")
        urllib.request.urlopen(probe, timeout=5).close()
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            datasets.fetch_atlas_schaefer_2018(
                n_rois, networks, resolution_mm=2, data_dir=str(folder.parent), verbose=0
            )
    except Exception as error:  # whatever the network, its proxies and the disk can raise
        return f"{type(error).__name__}: {error}"
    return ""


def _check_schaefer(atlas: Atlas, n_rois: int, path: Path) -> None:
    expected = SHA256.get(atlas.name)
    if atlas.n_rois != n_rois or (expected and atlas.sha256 != expected):
        raise AtlasError(
            f"{path}: found {atlas.n_rois} labels with checksum {atlas.sha256}, expected {n_rois} "
            f"with {expected or 'any'}: the download is damaged; remove the file and run again, "
            "or give a sound one as atlas.path"
        )


def voronoi_atlas() -> Atlas:
    """The approximation of Schaefer-100 for synthetic data; see `voronoi_image`."""
    digest = digest_of(voronoi_image())
    return Atlas(VORONOI, "MNI152", _complete(published_labels()), None, True, digest)


@lru_cache(maxsize=1)
def voronoi_image() -> nib.Nifti1Image:
    """nilearn's packaged grey-matter mask, each voxel given to the nearest published centroid.

    Voxels farther than 20 mm from every centroid belong to no parcel. 2 mm, int32.
    """
    mask = datasets.load_mni152_gm_mask(resolution=2)
    voxels = np.argwhere(np.asarray(mask.dataobj) > 0)
    labels = published_labels()
    tree = KDTree(labels[["x", "y", "z"]].to_numpy())
    distance, nearest = tree.query(nib.affines.apply_affine(mask.affine, voxels))
    near = distance <= MAX_DISTANCE
    data = np.zeros(mask.shape, dtype=np.int32)
    data[tuple(voxels[near].T)] = labels["index"].to_numpy()[nearest[near]]
    return nib.Nifti1Image(data, mask.affine)


def digest_of(image: nib.Nifti1Image) -> str:
    """SHA-256 of shape, affine and labels, whatever the file's compression and data type."""
    data = np.ascontiguousarray(np.asarray(image.dataobj), dtype="<i4")
    affine = np.round(image.affine, 4).astype("<f8") + 0.0  # no negative zero
    return _digest(repr(data.shape).encode() + affine.tobytes() + data.tobytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _complete(lut: pd.DataFrame) -> pd.DataFrame:
    """All columns: networks from the names and unknown centroids NaN where they are not given."""
    lut = lut.assign(name=lut["name"].astype(str))
    if "network" not in lut:
        lut = lut.assign(network=[network_of(n) for n in lut["name"]])
    for axis in "xyz":
        if axis not in lut:
            lut = lut.assign(**{axis: np.nan})
    lut = lut.assign(network=lut["network"].fillna("").astype(str))
    return lut[COLUMNS].reset_index(drop=True)
