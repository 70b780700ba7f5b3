"""The Schaefer 2018 atlas: nilearn's cache, a verified download, an approximation for the demo."""

from __future__ import annotations

import os
import re
import urllib.request
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from filelock import FileLock

from brainmass_core.atlas.labels import AtlasError, published_labels
from brainmass_core.spaces import FSL, ICBM_2009A

VORONOI = "Schaefer2018-100-voronoi"
PUBLISHED = "Schaefer2018-100-7networks"
SCHAEFER = re.compile(r"^Schaefer2018-(\d+)-(7|17)networks$")
# of shape, affine and voxels, independent of the compression
SHA256 = {PUBLISHED: "3a6a09d49f8a69e94f8e8170007b357debfa6d5512bf11a15c61f49d06bbca24"}
SPACE_OF = {SHA256[PUBLISHED]: FSL}  # by checksum; the publisher's name of this space is FSLMNI152
VORONOI_SPACE = ICBM_2009A  # space of nilearn's mask; the synthetic heads are deformed copies of it
# the cerebellum and the deep nuclei are farther from every cortical centroid
MAX_DISTANCE = 20.0
OFFLINE = "BRAINMASS_OFFLINE"
TIMEOUT = 5.0  # s
CBIG = "https://raw.githubusercontent.com/ThomasYeoLab/CBIG"


def schaefer_file(n_rois: int, networks: int) -> Path:
    """Label image of the Schaefer atlas at 2 mm, from nilearn's cache or a download.

    Raises
    ------
    AtlasError
        If it is not in the cache and cannot be downloaded, with three remedies.
    """
    from nilearn import datasets  # imported late: it takes longer than a batch of small scans

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
    """Let nilearn download into its cache; returns the reason if that is impossible."""
    if os.environ.get(OFFLINE):
        return f"{OFFLINE} is set"
    from nilearn import datasets

    try:
        # nilearn would wait for a minute if a firewall drops packets
        probe = urllib.request.Request(f"{CBIG}/master/README.md", method="HEAD")
        urllib.request.urlopen(probe, timeout=TIMEOUT).close()
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            datasets.fetch_atlas_schaefer_2018(
                n_rois, networks, resolution_mm=2, data_dir=str(folder.parent), verbose=0
            )
    except Exception as error:  # network, proxies and disk can raise many types
        return f"{type(error).__name__}: {error}"
    return ""


def check_order(lut: pd.DataFrame, path: Path) -> None:
    """Refuse to assign the published names to parcels at other positions.

    Parameters
    ----------
    lut : DataFrame (n_rois rows)
        x, y, z: centroids, mm, RAS.
    path : Path
        Label image, for the message.

    Raises
    ------
    AtlasError
        If the centroids are far from the published ones.
    """
    both = lut.merge(published_labels(), on="index", suffixes=("", "_published"))
    axes = ["x", "y", "z"]
    away = np.linalg.norm(both[axes].to_numpy() - both[[f"{a}_published" for a in axes]], axis=1)
    if away.max() > 2 * MAX_DISTANCE or np.median(away) > MAX_DISTANCE / 2:
        raise AtlasError(
            f"{path}: its parcels are {np.median(away):.0f} mm (median) from those of "
            f"{PUBLISHED}, so it is another atlas; give its own atlas.name and atlas.labels"
        )


@lru_cache(maxsize=1)
def voronoi_image() -> nib.Nifti1Image:
    """nilearn's packaged grey-matter mask, with each voxel assigned to the nearest published
    centroid.

    Voxels farther than 20 mm from every centroid belong to no parcel. 2 mm, int32, in the space of
    the mask, MNI152NLin2009aSym; the centroids are in MNI152NLin6Asym and are used unchanged, which
    is part of the approximation.
    """
    from nilearn import datasets
    from scipy.spatial import KDTree

    mask = datasets.load_mni152_gm_mask(resolution=2)
    voxels = np.argwhere(np.asarray(mask.dataobj) > 0)
    labels = published_labels()
    tree = KDTree(labels[["x", "y", "z"]].to_numpy())
    distance, nearest = tree.query(nib.affines.apply_affine(mask.affine, voxels))
    near = distance <= MAX_DISTANCE
    data = np.zeros(mask.shape, dtype=np.int32)
    data[tuple(voxels[near].T)] = labels["index"].to_numpy()[nearest[near]]
    return nib.Nifti1Image(data, mask.affine)
