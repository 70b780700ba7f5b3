"""A folder of ready parcel series: one row per array.

A scan is named after its file, without suffix and without the ``_rois_<atlas>`` that the
Preprocessed Connectomes Project appends. Arrays of an ``.npz`` file are named after their keys;
a single array, or the one that `array` names, after its file, unless the phenotype table lists its
key.
"""

from __future__ import annotations

import fnmatch
import logging
import re
from collections import Counter
from pathlib import Path

import bids2table
import pandas as pd

from brainmass_core.config import Dataset
from brainmass_core.readers import FileError
from brainmass_core.readers.limits import quoted
from brainmass_core.readers.matrices import other_than_series
from brainmass_core.readers.series import (
    SUFFIXES,
    SeriesError,
    series_shapes,
    series_suffix,
)
from brainmass_core.readers.sidecar import read_object
from brainmass_core.scans.bids import Row
from brainmass_core.scans.naming import odd_name, shown, written
from brainmass_core.scans.phenotype import numeric, phenotype_path
from brainmass_core.scans.repetition_time import LONGEST_T_R, SHORTEST_T_R
from brainmass_core.scans.rows import canonical
from brainmass_core.scans.table import PHENO, ScansError

log = logging.getLogger(__name__)
WILD = re.compile(r"[*?\[]")
Shapes = dict[str | None, tuple[int, ...] | SeriesError]
PCP_NAME = re.compile(r"_rois_\w+$")


def list_timeseries(name: str, dataset: Dataset, table: pd.DataFrame | None) -> list[Row]:
    """Rows of a folder of series, before phenotypes and split; `label` is the scan's own name.

    Raises
    ------
    ScansError
        If no file of a known kind matches the pattern, or files share arrays.
    """
    known = _known_names(dataset, table)
    rows = []
    for path in series_files(name, dataset):
        rows += _rows_of_file(name, dataset, path, known)
    _check_arrays(name, dataset, rows)
    return rows


def series_files(name: str, dataset: Dataset) -> list[Path]:
    """Files that match the pattern and are series by their suffix, ordered by path.

    Raises
    ------
    ScansError
        If there is no series.
    """
    found = _matching(dataset)
    files = matching_files(dataset, found)
    if not files:
        cifti = [p for p in found if p.name.endswith(".nii")]
        hint = (
            f"; {cifti[0].name} is an image or CIFTI: write its series as text, with Connectome "
            "Workbench: wb_command -cifti-convert -to-text"
            if cifti
            else ""
        )
        raise ScansError(
            f"datasets.{name}.pattern: {dataset.pattern!r} matches {len(found)} files in "
            f"{dataset.path}, none of them a series; expected {', '.join(SUFFIXES)}; correct "
            f"path or pattern (`**/*.npy` looks into sub-folders){hint}"
        )
    skipped = [p.name for p in found if not _is_series_by_name(p)]
    if skipped:
        names = ", ".join(map(shown, sorted(skipped)[:20]))
        log.warning("%s: ignored, because they are not series: %s", name, names)
    return files


def matching_files(dataset: Dataset, found: list[Path] | None = None) -> list[Path]:
    """Of the files that match the pattern those that are series by their suffix, by path."""
    found = _matching(dataset) if found is None else found
    table = phenotype_path(dataset)
    others = {table.absolute()} if table else set()
    return sorted(p for p in found if _is_series_by_name(p) and p not in others)


def _matching(dataset: Dataset) -> list[Path]:
    """Files that match the pattern, and folders with the name of a series."""
    found = dataset.path.absolute().glob(dataset.pattern)
    return [p for p in found if _is_series_by_name(p) or not p.is_dir()]


def _is_series_by_name(path: Path) -> bool:
    """Whether a name ends as that of a series, in upper or lower case (`.NPY` is refused later)."""
    return path.name.lower().endswith(tuple(s.lower() for s in SUFFIXES))


def named_in(path: Path) -> str:
    """Name of the scan of a file."""
    return PCP_NAME.sub("", path.name.removesuffix(series_suffix(path) or ""))


def participant_of(label: str) -> str:
    """The participant of a scan without a phenotype table of scans, by the scan's own name."""
    label = written(label)
    entities = bids2table.parse_bids_entities(f"{label}_x") if label.startswith("sub-") else {}
    return f"sub-{entities['sub']}" if "sub" in entities else label


def _known_names(dataset: Dataset, table: pd.DataFrame | None) -> set[str]:
    if table is None:
        return set()
    column = dataset.phenotype.scan_column or dataset.phenotype.id_column
    return set(table[column].dropna().map(canonical))


def _rows_of_file(name: str, dataset: Dataset, path: Path, known: set[str]) -> list[Row]:
    stem = named_in(path)
    if other := other_than_series(path.name.removesuffix(series_suffix(path) or "")):
        reason = (
            f"{shown(path)}: is {other} by its name, expected a series; narrow `pattern`, such as "
            "`**/*_timeseries.tsv`"
        )
        return [_row(name, path, stem) | {"excluded_reason": reason}]
    try:
        shapes = series_shapes(path, dataset.orientation, dataset.header)
        if path.suffix == ".npz" and dataset.array is not None:
            shapes = _chosen(path, dataset.array, shapes)
    except SeriesError as error:
        shapes = {None: error}
    rows = []
    one = dataset.array is not None and not WILD.search(dataset.array)
    for key, shape in shapes.items():
        by_key = key is not None and ((len(shapes) > 1 and not one) or canonical(key) in known)
        called = str(key) if by_key else stem
        row = _row(name, path, called) | {"bold_key": None if key is None else shown(key)}
        if odd := odd_name(path, called):
            row["excluded_reason"] = odd
        elif isinstance(shape, SeriesError):
            row["excluded_reason"] = str(shape)
        elif shape[0] < 2:
            row["excluded_reason"] = f"{path}: found {shape[0]} timepoint, expected a series"
        else:
            row["n_volumes"] = shape[0]
        rows.append(row)
    return rows


def _chosen(path: Path, pattern: str, shapes: Shapes) -> Shapes:
    """The arrays of a file that match `array`."""
    chosen = {
        key: shape for key, shape in shapes.items() if fnmatch.fnmatchcase(key or "", pattern)
    }
    if not chosen:
        names = ", ".join(map(str, list(shapes)[:10]))
        raise SeriesError(
            f"{path}: contains the arrays {names}, none of them `array` "
            f"{pattern!r}; correct `array`"
        )
    return chosen


def _check_arrays(name: str, dataset: Dataset, rows: list[Row]) -> None:
    """Refuse files that contain the same arrays: then a file is a scan, and not each array."""
    if dataset.array is not None:
        return
    keys = Counter(r["bold_key"] for r in rows if r.get("bold_key") == r["label"])
    again = [key for key, n in keys.items() if n > 1]
    if again:
        files = [r["bold_path"] for r in rows if r["bold_key"] == again[0]]
        names = [r["bold_key"] for r in rows if r["bold_path"] == files[0]]
        raise ScansError(
            f"datasets.{name}: {files[0]} contains the arrays {', '.join(names[:10])}, and "
            f"{files[1]} also {again[0]!r}; which of them is the series? "
            f"set datasets.{name}.array to its "
            "name"
        )


def _row(name: str, path: Path, label: str) -> Row:
    label = written(label)
    entities = bids2table.parse_bids_entities(f"{label}_x") if label.startswith("sub-") else {}
    return {
        "scan_id": f"{name}_{label}",
        "label": label,
        "participant_id": participant_of(label),
        "session": entities.get("ses"),
        "task": entities.get("task"),
        "run": entities.get("run"),
        "bold_path": shown(path),
    }


def add_t_r(name: str, dataset: Dataset, scans: pd.DataFrame) -> pd.DataFrame:
    """Repetition time in s: the phenotype column, else the configured value.

    Parameters
    ----------
    scans : DataFrame
        Phenotypes joined. Scans without a plausible t_r, or with a sidecar that gives another, are
        excluded.

    Raises
    ------
    ScansError
        If neither is configured.
    """
    column = dataset.phenotype.t_r_column
    if column is None and dataset.t_r is None:
        raise ScansError(
            f"datasets.{name}: ready series do not contain their t_r; set t_r (s), or "
            "phenotype.t_r_column if it differs between scans"
        )
    values = None
    if column is not None:
        try:
            values = numeric(scans, column, dataset, prefix=PHENO)
        except FileError as error:
            raise ScansError(str(error)) from None
    t_r = pd.Series(dataset.t_r, index=scans.index, dtype="float64")
    if values is not None:
        t_r = values.fillna(t_r)
    plausible = (t_r >= SHORTEST_T_R) & (t_r <= LONGEST_T_R)
    wrong = ~plausible & scans["excluded_reason"].isna()
    scans = scans.assign(t_r=t_r.where(plausible))
    found = t_r[wrong].map(lambda v: "missing" if pd.isna(v) else f"{v:g} s")
    scans.loc[wrong, "excluded_reason"] = scans.loc[wrong, "bold_path"] + (
        ": t_r of "
        + scans.loc[wrong, "label"]
        + " is "
        + found
        + f" in column {column!r}, expected {SHORTEST_T_R:g} to {LONGEST_T_R:g} s, not "
        f"milliseconds; correct it, or set datasets.{name}.t_r for scans without one"
    )
    kept = scans.index[scans["excluded_reason"].isna()]
    reasons = [
        _contradiction(Path(path), t_r, dataset.t_r_tolerance)
        for path, t_r in scans.loc[kept, ["bold_path", "t_r"]].itertuples(index=False, name=None)
    ]
    scans.loc[kept, "excluded_reason"] = pd.Series(reasons, index=kept, dtype=object)
    return scans


def sidecar_of(path: Path) -> Path:
    """Where the metadata of a series would be, if there are any."""
    return path.with_name(f"{path.name.removesuffix(series_suffix(path) or '')}.json")


def _contradiction(path: Path, t_r: float, tolerance: float) -> str | None:
    """Contradiction between a series' t_r (s) and its sidecar; None if there is none."""
    sidecar = sidecar_of(path)
    if not sidecar.exists() and not sidecar.is_symlink():
        return None
    try:
        stated = read_object(sidecar).get("RepetitionTime")
    except FileError as error:
        return f"unreadable sidecar: {error}"
    if stated is None:
        return None
    number = isinstance(stated, int | float) and not isinstance(stated, bool)
    if number and SHORTEST_T_R <= stated <= LONGEST_T_R:
        if abs(stated - t_r) <= tolerance + 1e-9:
            return None
        return (
            f"{path}: contradictory t_r: {stated:g} s in {sidecar.name}, {t_r:g} s in the "
            "configuration (t_r, phenotype.t_r_column); find out which is right and correct the "
            "other"
        )
    return (
        f"{sidecar}: RepetitionTime is {quoted(stated)}, expected {SHORTEST_T_R:g} to "
        f"{LONGEST_T_R:g}, in seconds; correct the sidecar"
    )
