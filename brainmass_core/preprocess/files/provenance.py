"""Metadata of derivatives: software, sources and settings.

The same run gives identical bytes: there are no dates or host names.
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from brainmass_core import __version__
from brainmass_core.tables import atomic_path

BIDS_VERSION = "1.10.0"
# files without a BIDS name yet; fMRIPrep also ignores the first three
IGNORED = (
    "*_xfm.*",
    "*_boldref.*",
    "*_desc-confounds_timeseries.*",
    "*_desc-anatomical.json",
    "*_stat-tsnr_boldmap.*",
    "*_desc-carpet_bold.npz",
    "*.html",
    "figures/",
)
README = """\
Preprocessing by brainmass
==========================

Estimates for each run: masks, transforms, head motion and confounds. `dataset_description.json`
names the raw data and holds the settings; how each file is made and what its columns mean stands
in the JSON file beside it.

Transforms that end in `mode-image_xfm` are ITK transforms, as fMRIPrep writes them: coordinates are
LPS, and `from-A_to-B` resamples images of A onto the grid of B. Those that end in
`mode-points_xfm` are for brainmass itself: mm, RAS, and `from-A_to-B` maps points of A to B.
"""


def write_description(
    folder: Path,
    name: str,
    sources: dict[str, str],
    settings: dict[str, Any],
    *,
    holds: str = "preprocessed",
    does: str = "Estimation of masks, transforms, head motion and confounds",
    ignored: tuple[str, ...] = IGNORED,
    readme: str = README,
) -> None:
    """Write ``dataset_description.json``, ``.bidsignore`` and ``README`` of a derivatives folder.

    Batches of one data set write identical bytes, each file atomically, so their order does not
    matter.

    Parameters
    ----------
    folder : Path
        Root of the derivatives.
    name : str
        Name of the data set.
    sources : dict
        Name of a data set in the URIs of sidecars (``bids:raw:...``) to its folder or URL.
    settings : dict
        Resolved section of the configuration, such as ``preprocess``; plain values.
    holds, does : str
        Content of the folder, and how it was produced.
    ignored : tuple of str
        Patterns of files without a BIDS name.
    readme : str
    """
    links = {k: _link(v) for k, v in sorted(sources.items())}
    generated = {
        "Name": "brainmass",
        "Version": __version__,
        "Description": does,
    }
    if url := _code_url():
        generated["CodeURL"] = url
    about = {
        "Name": f"{name}: {holds}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generated],
        "SourceDatasets": [{"URL": link} for link in links.values()],
        "DatasetLinks": links,
        "Settings": settings,
        "SettingsHash": hash_of(settings),
    }
    files = {
        "dataset_description.json": _json(about),
        ".bidsignore": "\n".join(ignored) + "\n",
        "README": readme,
    }
    for file, text in files.items():
        _write(folder / file, text)


def write_sidecar(image: Path, about: dict[str, Any]) -> Path:
    """Write the JSON sidecar of an image or a table; None means unknown.

    Returns
    -------
    Path
    """
    path = image.with_name(re.sub(r"(\.nii(\.gz)?|\.tsv|\.json)$", "", image.name) + ".json")
    _write(path, _json({k: v for k, v in about.items() if v is not None}))
    return path


def bids_uri(path: str | Path, dataset: str = "") -> str:
    """A file as BIDS URI: ``bids:<dataset>:<path from sub-... on>``.

    Parameters
    ----------
    path : path
    dataset : str
        A key of ``DatasetLinks``; empty for the data set that the sidecar is part of.
    """
    parts = Path(path).parts
    # the last such folder, because a parent folder of the data set may also be named sub-...
    first = max((i for i, p in enumerate(parts[:-1]) if p.startswith("sub-")), default=-1)
    return f"bids:{dataset}:{'/'.join(parts[first:])}"


def hash_of(settings: dict[str, Any]) -> str:
    """Hash (12 hexadecimal digits) of settings, independent of their order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _link(place: str) -> str:
    """A folder as URI; a URI is returned unchanged."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", place):
        return place
    return Path(place).absolute().as_uri()


def _code_url() -> str | None:
    """URL of the code, from the metadata of the installed package."""
    try:
        urls = metadata("brainmass-core").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    found = dict(url.split(", ", 1) for url in urls)
    return next((found[k] for k in ("Repository", "Source", "Homepage") if k in found), None)


def _json(about: dict[str, Any]) -> str:
    return json.dumps(about, indent=2) + "\n"


def _write(path: Path, text: str) -> None:
    """Replace a file unless its content is already the same."""
    try:
        if path.read_text() == text:
            return
    except (OSError, UnicodeDecodeError):
        pass
    with atomic_path(path) as temporary:
        temporary.write_text(text)
