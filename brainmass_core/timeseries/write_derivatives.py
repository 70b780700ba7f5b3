"""Write series and FC of single scans as BIDS derivatives, following the draft of BEP017.

Every file is written atomically; batches of one data set write identical bytes to shared files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.atlas import Atlas
from brainmass_core.config.timeseries import Timeseries
from brainmass_core.preprocess.files.provenance import write_description
from brainmass_core.tables import atomic_path
from brainmass_core.tables.text import tsv_text

STEM = re.compile(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?(?:_[A-Za-z]+-[A-Za-z0-9+-]+)*")
SOURCE = "source"  # name of the data set in BIDS URIs
IGNORED = ("*_timeseries.*", "*_relmat.*", "*_bold.tsv", "*_outliers.*", "*_design.*", "*_dseg.tsv")


@dataclass(frozen=True)
class Names:
    """Names of the files of one scan.

    Attributes
    ----------
    folder : Path
        ``sub-X[/ses-Y]/func`` of the derivatives.
    stem : str
        Entities of the raw run.
    space : str or None
        BIDS label of the space of the parcels; None if unknown.
    atlas : str
        BIDS label.
    """

    folder: Path
    stem: str
    space: str | None
    atlas: str

    def of_run(self, suffix: str) -> Path:
        """Path of a file that does not depend on the atlas."""
        return self.folder / f"{self.stem}_{suffix}"

    def of_atlas(self, suffix: str) -> Path:
        """Path of a file about the parcels."""
        space = f"space-{self.space}_" if self.space else ""
        return self.of_run(f"{space}atlas-{self.atlas}_{suffix}")


def names_of(root: Path, dataset: str, scan_id: str, space: str | None, atlas: str) -> Names | None:
    """Names of a scan's files.

    Returns
    -------
    Names or None
        None if the scan has no BIDS name (``sub-...``), which ready series may lack.
    """
    stem = scan_id.removeprefix(f"{dataset}_")
    found = STEM.fullmatch(stem)
    if not found:
        return None
    folder = root.joinpath(*[part for part in found.groups() if part], "func")
    return Names(folder, stem, space and label_of(space), label_of(atlas))


def label_of(name: str) -> str:
    """Convert a name to a BIDS label of letters and digits.

    Names of Schaefer's atlas become ``Schaefer2018100Parcels7Networks``.
    """
    schaefer = re.fullmatch(r"Schaefer2018-(\d+)-(\d+)networks", name, re.IGNORECASE)
    if schaefer:
        return f"Schaefer2018{schaefer[1]}Parcels{schaefer[2]}Networks"
    first, *others = [p for p in re.split(r"[^A-Za-z0-9]+", name) if p] or ["unnamed"]
    return first + "".join(p[0].upper() + p[1:] for p in others)


def write_dataset(
    folder: Path, what: str, dataset: str, source: Path, atlas: Atlas, settings: dict[str, Any]
) -> None:
    """Write the description of a folder of derivatives, and the parcels of the atlas.

    Parameters
    ----------
    folder : Path
    what : str
        Content of the folder, such as ``time series``.
    source : Path
        Folder of the data set.
    settings : dict
        Section of the configuration.
    """
    write_description(
        folder,
        dataset,
        {SOURCE: str(source)},
        settings,
        holds=what,
        does="Parcel means, nuisance regression and functional connectivity",
        ignored=IGNORED,
        readme=f"{what.capitalize()} of brainmass, named after the draft of BEP017. The same "
        "numbers for all scans at once are in the Parquet tables beside this folder.\n",
    )
    columns = [c for c in ("index", "name", "network", "x", "y", "z") if c in atlas.labels]
    text = tsv_text(atlas.labels[columns], float_format="%.7g")
    write_text(folder / f"atlas-{label_of(atlas.name)}_dseg.tsv", text)


def write_scan(
    names: Names,
    atlas: Atlas,
    series: np.ndarray,
    coverage: np.ndarray,
    about: dict[str, Any],
) -> None:
    """Write the clean series of a scan with sidecar, and the coverage of its parcels.

    Parameters
    ----------
    series : ndarray (n_kept, n_rois)
        NaN in parcels that are not covered.
    coverage : ndarray (n_rois,)
        Covered fraction of each parcel, in [0, 1].
    about : dict
        Entries of the sidecar.
    """
    parcels = atlas.labels["name"].astype(str).tolist()
    path = names.of_atlas("stat-mean_timeseries.tsv")
    write_text(path, tsv(parcels, series))
    write_json(path.with_suffix(".json"), about)
    write_text(names.of_atlas("stat-coverage_bold.tsv"), tsv(parcels, coverage[None]))


def write_matrix(
    names: Sequence[Names],
    parcels: list[str],
    fc: np.ndarray,
    measure: tuple[str, str],
    about: dict[str, Any],
) -> None:
    """Write the functional connectivity of a scan, or of joined runs, with its sidecar.

    Parameters
    ----------
    names : sequence of Names
        Names of the matrix, then of its series.
    fc : ndarray (n_rois, n_rois)
        NaN where a parcel is not covered.
    measure : (str, str)
        BIDS label and name.
    about : dict
        Additional entries of the sidecar.
    """
    path = names[0].of_atlas(f"stat-{measure[0]}_relmat.tsv")
    write_text(path, tsv(parcels, fc))
    fixed = {
        "RelationshipMeasure": measure[1],
        "Weighted": True,
        "Directed": False,
        "ValidDiagonal": False,
        "StorageFormat": "Full",
        "NodeFiles": [f"bids::atlas-{names[0].atlas}_dseg.tsv"],
    }
    sources = []
    for one in names[1:]:
        series = one.of_atlas("stat-mean_timeseries.tsv")
        inside = [p for p in series.parts[-4:-2] if p.startswith(("sub-", "ses-"))]
        sources.append(f"bids:{SOURCE}:{'/'.join(inside)}/func/{series.name}")
    write_json(path.with_suffix(".json"), fixed | about | {"Sources": sources})


def write_model(
    names: Names, design: pd.DataFrame, censored: np.ndarray | None, settings: Timeseries
) -> None:
    """Write the regressors of a scan, and its volumes with motion.

    Parameters
    ----------
    design : DataFrame (n_volumes rows)
        One column per regressor; the sidecar describes each by its name.
    censored : ndarray (n_volumes,) of bool or None
        None: no file of outliers is written.
    settings : Timeseries
        Its criterion of motion is written to the sidecar of the outliers.
    """
    path = names.of_run("design.tsv")
    write_text(path, tsv([str(c) for c in design], design.to_numpy()))
    write_json(path.with_suffix(".json"), {str(c): _regressor(str(c)) for c in design})
    if censored is None:
        return
    path = names.of_run("outliers.tsv")
    write_text(path, tsv(["censored"], censored[:, None]))
    meaning = {
        "Description": "Volumes that exceed the criterion of motion, with their neighbours",
        "Levels": {"0": "below", "1": "above"},
    }
    write_json(path.with_suffix(".json"), {"censored": meaning, **settings.censor.model_dump()})


def _regressor(name: str) -> dict[str, str]:
    if name.startswith("polynomial_"):
        return {"Description": "Legendre polynomial over the run"}
    about = "as in the confounds of the run; expansions are computed from it"
    if "power2" in name or not name.startswith(("trans_", "rot_")):
        return {"Description": about}
    return {"Description": about, "Units": "mm" if name.startswith("trans_") else "rad"}


def tsv(header: list[str], values: np.ndarray) -> str:
    """A table as text: seven digits, ``n/a`` for NaN.

    Parameters
    ----------
    values : ndarray (n_rows, len(header))
    """
    values = np.asarray(values, dtype=np.float64)
    line = "\t".join(["%.7g"] * values.shape[1])
    rows = [line % tuple(row) for row in values.tolist()]
    if not np.isfinite(values).all():
        rows = [row.replace("nan", "n/a") for row in rows]
    return "\n".join(["\t".join(header), *rows, ""])


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a sidecar, without entries that are None."""
    known = {k: v for k, v in content.items() if v is not None}
    write_text(path, json.dumps(known, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)
