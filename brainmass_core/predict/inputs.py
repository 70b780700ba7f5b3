"""Recognise the kind of an input, and read single FC tables and matrices."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from brainmass_core.connectivity import MEASURES, vectorise
from brainmass_core.predict.compatibility import PredictError, Provenance, incompatibility
from brainmass_core.predict.contract import Contract, Processing
from brainmass_core.readers import read_delimited
from brainmass_core.readers.files import FileError
from brainmass_core.readers.matrices import other_than_series
from brainmass_core.readers.missing import MISSING
from brainmass_core.readers.series import series_suffix
from brainmass_core.readers.sidecar import read_object
from brainmass_core.scans.bids import SURFACES
from brainmass_core.scans.naming import odd_name, shown, written
from brainmass_core.scans.repetition_time import LONGEST_T_R, SHORTEST_T_R, is_plausible
from brainmass_core.tables import TableError, read_table

log = logging.getLogger(__name__)
Kind = Literal["results", "table", "matrices", "bids", "derivatives", "series"]
RESULTS = ("connectivity", "timeseries")  # stages whose tables can be scored
ABOUT = ["scan_id", "participant_id", "site", "sex", "age", "mean_fd"]


@dataclass
class Found:
    """Scans of an input.

    Attributes
    ----------
    rows : list of dict
        scan_id, participant_id, status (ok, failed, excluded, refused), reason, site, sex, age,
        mean_fd.
    seen : dict
        scan_id to the model's input for scans that are ok: FC (n_edges,) float32, or features of a
        recording, see `Model.of_recording`.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, row: dict[str, Any], seen: np.ndarray | None, status: str, reason: str) -> None:
        """Add one scan with its outcome; non-finite values fail."""
        if seen is not None and not np.isfinite(seen).all():
            seen, status, reason = None, "failed", "FC or series with values that are not finite"
        self.rows.append(row | {"status": status, "reason": reason})
        if seen is not None:
            self.seen[row["scan_id"]] = seen


def kind_of(path: Path) -> Kind:
    """Recognise the kind of an input.

    Raises
    ------
    PredictError
        If it cannot be recognised.
    """
    if not path.exists():
        raise PredictError(f"{path}: no such file or folder; correct the path")
    if path.is_file():
        if path.suffix == ".parquet":
            return "table"
        if path.name.endswith("_relmat.tsv"):
            return "matrices"
        if _is_series(path):
            return "series"
    elif any(any((path / stage).glob("*/*.parquet")) for stage in RESULTS):
        return "results"
    elif next(path.rglob("*_relmat.tsv"), None):
        return "matrices"
    elif runs := [p.name for p in path.glob("sub-*/**/func/*_bold.nii*")]:
        # of all runs, as the order of a folder is arbitrary
        processed = any("_desc-" in name for name in runs) or _is_derivative(path)
        return "derivatives" if processed else "bids"
    elif any(_is_series(p) for p in path.rglob("*") if p.is_file()):
        return "series"
    raise PredictError(
        f"{path}: found no input; expected a results folder, a BIDS folder, parcel series (.1D, "
        ".npy, .npz, .tsv, .csv, .txt), FC tables (.parquet) or *_relmat.tsv" + _what_else(path)
    )


def _is_series(path: Path) -> bool:
    """Whether a file may be a series by its name; participants, confounds and the like are none."""
    suffix = series_suffix(path)
    return suffix is not None and other_than_series(path.name.removesuffix(suffix)) is None


def _what_else(path: Path) -> str:
    """What to say of the images and tables of an input without anything to predict from."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    if found := [p for p in files if p.name.endswith(SURFACES)]:
        return (
            f"; {shown(found[0])} is CIFTI or GIFTI, which hold surfaces: write its parcel series "
            "as text, of CIFTI with Connectome Workbench: wb_command -cifti-convert -to-text"
        )
    if found := [p for p in files if p.name.endswith((".nii", ".nii.gz"))]:
        return f"; {shown(found[0])} is no run of a BIDS folder: sub-*/func/*_bold.nii.gz"
    for file in files:
        if suffix := series_suffix(file):
            return f"; {shown(file)} is {other_than_series(file.name.removesuffix(suffix))}"
    return ""


def _is_derivative(path: Path) -> bool:
    try:
        about = read_object(path / "dataset_description.json")
    except FileError:
        return False
    said = str(about.get("DatasetType", "")).lower() == "derivative"
    return said or bool(about.get("PipelineDescription"))  # PipelineDescription in older fMRIPrep


def _settle(found: Found, about: dict[str, Any], fc: Any, reason: str | None) -> None:
    if reason is None:
        found.add(about, np.asarray(fc, dtype=np.float32), "ok", "")
    else:
        found.add(about, None, "refused", reason)


def fc_rows(table: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """scan_id and, of a connectivity table, estimator and FC of each scan."""
    fc = table["fc"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    fc = fc.reshape(len(table), -1) if len(table) else fc.reshape(0, 0)
    for row, vector in zip(table.select(["scan_id", "estimator"]).to_pylist(), fc, strict=True):
        yield row["scan_id"], row | {"fc": vector}


def read_fc_table(path: Path, contract: Contract, as_trained: bool) -> Found:
    """Scans of a single connectivity table, which gives the estimator but not the atlas.

    Raises
    ------
    TableError
        If it is not such a table.
    """
    found = Found()
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except Exception as error:  # pyarrow raises many types on damaged files
        raise TableError(f"{path}: damaged Parquet file ({error}); copy it again") from None
    name = metadata.get(b"brainmass_table", b"no table of brainmass").decode(errors="replace")
    if name != "connectivity":
        raise PredictError(
            f"{path}: found {name!r}, expected a connectivity table; give the results folder"
        )
    table = read_table(path, "connectivity")
    unit = "joined" if "joined" in table.column_names else "run"
    for scan_id, row in sorted(fc_rows(table)):
        where, n_edges = f"{path}: {scan_id}", len(row["fc"])
        provenance = Provenance(where, estimator=row["estimator"], n_edges=n_edges, unit=unit)
        about = dict.fromkeys(ABOUT) | {"scan_id": scan_id}
        _settle(found, about, row["fc"], incompatibility(contract, provenance, as_trained))
    return found


def read_matrices(path: Path, contract: Contract, as_trained: bool) -> Found:
    """FC matrices ``*_relmat.tsv`` with their sidecars, as `connectivity` writes them (BEP017).

    The correlation of a parcel without values with any other is 0, as in the tables.
    """
    found = Found()
    files = [path] if path.is_file() else sorted(path.rglob("*_relmat.tsv"))
    named: dict[str, list[Path]] = {}
    for file in files:
        named.setdefault(file.name, []).append(file)
    for name, (file, *others) in named.items():
        entities = dict(p.split("-", 1) for p in name.split("_") if "-" in p)
        participant = written(f"sub-{entities['sub']}") if "sub" in entities else None
        scan_id = name.removesuffix("_relmat.tsv")
        about = dict.fromkeys(ABOUT) | {
            "scan_id": written(scan_id),
            "participant_id": participant,
        }
        try:
            _check_place(scan_id, file, others)
            parcels, matrix = _matrix(file)
            parcels, matrix = _in_order(file, parcels, matrix, contract)
            provenance = _of_matrix(file, entities, parcels, len(matrix))
        except PredictError as error:
            found.add(about, None, "failed", str(error))
            continue
        _settle(found, about, vectorise(matrix), incompatibility(contract, provenance, as_trained))
    return found


def _check_place(scan_id: str, file: Path, others: list[Path]) -> None:
    """Refuse names that tables cannot store, and names that several files share."""
    if reason := odd_name(file, scan_id):
        raise PredictError(reason)
    if others:
        raise PredictError(
            f"{file}: found {' and '.join(map(shown, others[:5]))} of the same name, expected one "
            "file for each scan; rename them or remove the others"
        )


def _in_order(
    file: Path, parcels: list[str], matrix: np.ndarray, contract: Contract
) -> tuple[list[str], np.ndarray]:
    """A matrix in the model's order of parcels, or unchanged if the parcels differ."""
    names = contract.atlas.names
    if parcels == names or sorted(parcels) != sorted(names):
        return parcels, matrix
    log.info("%s: parcels are not in the model's order and were sorted by name", file)
    order = [parcels.index(name) for name in names]
    return names, matrix[np.ix_(order, order)]


def _matrix(file: Path) -> tuple[list[str], np.ndarray]:
    """Names of the parcels, and FC (n_rois, n_rois)."""
    try:
        table = read_delimited(file)
        matrix = table.mask(table.isin(MISSING), "nan").to_numpy().astype(np.float64)
    except FileError as error:
        raise PredictError(str(error)) from None
    except ValueError as error:
        raise PredictError(f"{file}: cannot be read as a matrix ({error}); copy it again") from None
    n = matrix.shape[1]
    if matrix.shape != (n, n) or n < 2:
        raise PredictError(
            f"{file}: found {matrix.shape[0]} rows and {n} columns, expected a square matrix under "
            "a header with the names of the parcels"
        )
    _check_diagonal(file, matrix)
    matrix = np.nan_to_num(matrix, nan=0.0)
    off = matrix[~np.eye(n, dtype=bool)]
    if not np.allclose(matrix, matrix.T, atol=1e-5) or np.abs(off).max() > 1 + 1e-6:
        raise PredictError(f"{file}: not symmetric or outside -1 to 1, expected correlations")
    return [str(c) for c in table.columns], matrix


def _check_diagonal(file: Path, matrix: np.ndarray) -> None:
    """Refuse matrices that are not correlations, by their diagonal: Fisher's z, covariance,
    precision."""
    known = np.isfinite(matrix).sum(axis=0) > 1
    own = np.diag(matrix)[known]
    if not known.any():
        raise PredictError(f"{file}: contains no values; copy it again")
    if not np.allclose(own, 1.0, atol=1e-3):
        odd = own[~np.isclose(own, 1.0, atol=1e-3)][0]
        raise PredictError(
            f"{file}: found {odd:g} on the diagonal, expected 1, as correlations have; is it "
            "Fisher's z, a covariance or another measure? write correlations, 1 on the diagonal"
        )


def sidecar(file: Path) -> dict[str, Any]:
    """The sidecar of a file; empty if there is none.

    Raises
    ------
    PredictError
        If it is damaged.
    """
    path = file.with_suffix(".json")
    if not path.exists() and not path.is_symlink():
        return {}
    try:
        return read_object(path)
    except FileError as error:
        raise PredictError(f"{path}: unreadable sidecar ({error}); copy it again") from None


def text_in(about: dict[str, Any], name: str, file: Path) -> str | None:
    """A text entry of the sidecar of a file; None if there is none.

    Raises
    ------
    PredictError
        If it is not text.
    """
    value = about.get(name)
    if value is not None and not isinstance(value, str):
        raise PredictError(
            f"{file.with_suffix('.json')}: found {name} {repr(value)[:80]}, expected text as "
            "brainmass writes it; copy the sidecar again"
        )
    return value


def t_r_in(about: dict[str, Any], file: Path) -> float | None:
    """The repetition time (s) in the sidecar of a file; None if it has none.

    Raises
    ------
    PredictError
        If it is not a number, or not plausible for fMRI in seconds.
    """
    value = about.get("RepetitionTime")
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not is_plausible(value):
        raise PredictError(
            f"{file.with_suffix('.json')}: found RepetitionTime {repr(value)[:80]}, expected "
            f"{SHORTEST_T_R:g} to {LONGEST_T_R:g}, in seconds; correct the sidecar"
        )
    return float(value)


def done_by(about: dict[str, Any], file: Path) -> Processing | None:
    """Processing according to a sidecar written by brainmass; None if it has none.

    Raises
    ------
    PredictError
        If an entry is not text.
    """
    names = {
        "denoise": "Denoise",
        "order": "FilterOrder",
        "filter": "Filter",
        "censor": "Censoring",
    }
    if "Denoise" not in about:
        return None
    return Processing(**{key: text_in(about, name, file) for key, name in names.items()})


def _of_matrix(file: Path, entities: dict[str, str], parcels: list[str], n: int) -> Provenance:
    about = sidecar(file)
    labels = {label: name for name, (label, _) in MEASURES.items()}
    return Provenance(
        where=str(file),
        atlas=entities.get("atlas"),
        parcels=parcels,
        n_edges=n * (n - 1) // 2,
        estimator=text_in(about, "Estimator", file) or labels.get(entities.get("stat", "")),
        unit="joined" if "JoinedRuns" in about else "run" if "Estimator" in about else None,
        done=done_by(about, file),
    )
