"""Kind of a data set, from the names in its folder: raw BIDS, derivatives or parcel series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from brainmass_core.readers.files import FileError
from brainmass_core.readers.series import SUFFIXES
from brainmass_core.readers.sidecar import read_object
from brainmass_core.scans.index import PARTICIPANT

Kind = Literal["bids", "derivatives", "timeseries"]
IMAGE = ("_bold.nii.gz", "_bold.nii")
DERIVED = ("_space-", "_desc-preproc")
LOOKED_AT = 200  # participants; the first of them with BOLD decides


def kind_of(root: Path) -> Kind | None:
    """Kind of the data set in a folder.

    A description with ``DatasetType: derivative`` decides, then the names of BOLD runs, then
    whether there are files with the suffix of a series.

    Returns
    -------
    str or None
        None if there are neither BOLD runs nor series.
    """
    name = next(bold_names(root), None)
    if name is not None:
        derived = _says_derivative(root) or any(part in name for part in DERIVED)
        return "derivatives" if derived else "bids"
    return "timeseries" if any(_series_files(root)) else None


def bold_names(root: Path) -> Iterator[str]:
    """Names of BOLD images in ``sub-*/[ses-*/]func``, participant after participant."""
    folders = sorted(p for p in root.glob("sub-*") if PARTICIPANT.fullmatch(p.name))
    for folder in folders[:LOOKED_AT]:
        found = [p for pattern in ("func/*", "ses-*/func/*") for p in folder.glob(pattern)]
        yield from sorted(p.name for p in found if p.name.endswith(IMAGE))


def _says_derivative(root: Path) -> bool:
    try:
        about = read_object(root / "dataset_description.json")
    except FileError:
        return False
    is_derivative = str(about.get("DatasetType", "")).lower() == "derivative"
    return is_derivative or bool(about.get("PipelineDescription"))


def _series_files(root: Path) -> Iterator[Path]:
    return (p for p in root.rglob("*") if p.name.endswith(SUFFIXES) and p.is_file())
