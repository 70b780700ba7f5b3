"""What a user may point at, and how its FC is read: results, FC tables, matrices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from brainmass_core.config import Config
from brainmass_core.connectivity import MEASURES, vectorise
from brainmass_core.manifest import read_manifests
from brainmass_core.paths import Paths
from brainmass_core.predict.contract import Contract, Done
from brainmass_core.predict.misfit import Origin, PredictError, misfit
from brainmass_core.scans import read_scans
from brainmass_core.scans.series import series_suffix
from brainmass_core.tables import TableError, read_table

Kind = Literal["results", "table", "matrices", "bids", "derivatives", "series"]
ABOUT = ["scan_id", "participant_id", "site", "sex", "age", "mean_fd"]
NOT_FC = ("pfc", "quality")  # stages whose outcome says nothing about FC


@dataclass
class Found:
    """Scans of an input.

    Attributes
    ----------
    rows : list of dict
        scan_id, participant_id, status (ok, failed, excluded, refused), reason, site, sex, age,
        mean_fd.
    fc : dict
        scan_id to FC (n_edges,) float32, of those that are ok.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    fc: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, row: dict[str, Any], fc: np.ndarray | None, status: str, reason: str) -> None:
        """One scan with its outcome; FC that is not finite fails."""
        if fc is not None and not np.isfinite(fc).all():
            fc, status, reason = None, "failed", "FC with values that are not finite"
        self.rows.append(row | {"status": status, "reason": reason})
        if fc is not None:
            self.fc[row["scan_id"]] = fc


def kind_of(path: Path) -> Kind:
    """What an input is.

    Raises
    ------
    PredictError
        If it is none of what can be read.
    """
    if not path.exists():
        raise PredictError(f"{path}: no such file or folder; correct the path")
    if path.is_file():
        if path.suffix == ".parquet":
            return "table"
        if path.name.endswith("_relmat.tsv"):
            return "matrices"
        if series_suffix(path):
            return "series"
    elif any((path / "connectivity").glob("*/*.parquet")):
        return "results"
    elif next(path.rglob("*_relmat.tsv"), None):
        return "matrices"
    elif next(path.glob("sub-*/**/func/*_bold.nii*"), None):
        return "derivatives" if _is_derivative(path) else "bids"
    elif any(series_suffix(p) for p in path.rglob("*") if p.is_file()):
        return "series"
    raise PredictError(
        f"{path}: found nothing to predict from; expected a results folder, a BIDS folder, parcel "
        "series (.1D, .npy, .npz, .tsv, .csv, .txt), FC tables (.parquet) or *_relmat.tsv"
    )


def _is_derivative(path: Path) -> bool:
    try:
        about = json.loads((path / "dataset_description.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("DatasetType") == "derivative"


def finished_datasets(config: Config) -> list[str]:
    """Data sets of a results folder that have a scans table."""
    paths = Paths(config.results)
    return [name for name in config.datasets if paths.scans(name).exists()]


def read_results(
    config: Config, contract: Contract, datasets: list[str], judge: bool = True
) -> Found:
    """Every scan of some data sets of a results folder, with its FC or what became of it.

    Parameters
    ----------
    judge : bool
        Whether to refuse scans that do not fit the model.
    """
    paths, found = Paths(config.results), Found()
    scans = read_scans(paths, datasets).to_pandas()
    fates = _fates(paths, datasets)
    series: dict[str, dict[str, Any]] = {}
    fc: dict[str, dict[str, Any]] = {}
    for dataset in datasets:
        for batch in range(config.datasets[dataset].batches):
            series |= _rows(paths.batch("timeseries", dataset, batch), "timeseries")
            fc |= _rows(paths.batch("connectivity", dataset, batch), "connectivity")
    for row in scans.sort_values("scan_id").to_dict("records"):
        scan_id = row["scan_id"]
        about = {key: row[key] for key in ABOUT}
        made, measured = series.get(scan_id, {}), fc.get(scan_id)
        if made.get("mean_fd") is not None:
            about["mean_fd"] = made["mean_fd"]
        if row["excluded_reason"] is not None and not pd.isna(row["excluded_reason"]):
            found.add(about, None, "excluded", row["excluded_reason"])
        elif scan_id in fates:
            found.add(about, None, *fates[scan_id])
        elif measured is None:
            found.add(about, None, "failed", "no row in the connectivity table")
        else:
            origin = _origin(paths.results, made, measured)
            reason = misfit(contract, origin, as_trained=False) if judge else None
            _settle(found, about, measured["fc"], reason)
    return found


def _origin(results: Path, made: dict[str, Any], measured: dict[str, Any]) -> Origin:
    done = Done(**{key: made.get(key) for key in Done.model_fields}) if made else None
    return Origin(
        where=f"{results}: {measured['scan_id']}",
        atlas=made.get("atlas"),
        n_edges=len(measured["fc"]),
        estimator=measured["estimator"],
        done=done,
        t_r=made.get("t_r"),
    )


def _settle(found: Found, about: dict[str, Any], fc: Any, reason: str | None) -> None:
    if reason is None:
        found.add(about, np.asarray(fc, dtype=np.float32), "ok", "")
    else:
        found.add(about, None, "refused", reason)


def _rows(path: Path, name: str) -> dict[str, dict[str, Any]]:
    """Rows of a batch's table without the series themselves, by scan_id; none if it is missing."""
    if not path.exists():
        return {}
    columns = {
        "timeseries": ["scan_id", "status", "atlas", *Done.model_fields, "t_r", "mean_fd"],
        "connectivity": ["scan_id", "estimator", "fc"],
    }
    table = read_table(path, name, columns[name])
    if name == "connectivity":
        return dict(_fc_rows(table))
    return {row["scan_id"]: row for row in table.to_pylist()}


def _fc_rows(table: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    fc = table["fc"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    fc = fc.reshape(len(table), -1) if len(table) else fc.reshape(0, 0)
    for row, vector in zip(table.select(["scan_id", "estimator"]).to_pylist(), fc, strict=True):
        yield row["scan_id"], row | {"fc": vector}


def _fates(paths: Paths, datasets: list[str]) -> dict[str, tuple[str, str]]:
    """Outcome and reason of the scans that fell out on the way to FC."""
    entries = read_manifests(paths).to_pandas()
    entries = entries[entries["dataset"].isin(datasets) & (entries["status"] != "ok")]
    entries = entries[~entries["stage"].isin(NOT_FC)].drop_duplicates("scan_id")
    return {
        row.scan_id: (row.status, f"{row.reason} {row.remedy or ''}".strip())
        for row in entries.itertuples()
    }


def read_fc_table(path: Path, contract: Contract, as_trained: bool) -> Found:
    """Scans of a connectivity table that lies alone; it says the estimator, but no atlas.

    Raises
    ------
    TableError
        If it is no such table.
    """
    found = Found()
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except Exception as error:  # whatever pyarrow raises on a damaged file
        raise TableError(f"{path}: damaged Parquet file ({error}); copy it again") from None
    name = metadata.get(b"brainmass_table", b"no table of brainmass").decode()
    if name != "connectivity":
        raise PredictError(
            f"{path}: found {name!r}, expected a connectivity table; give the results folder"
        )
    for scan_id, row in sorted(_fc_rows(read_table(path, "connectivity"))):
        origin = Origin(f"{path}: {scan_id}", estimator=row["estimator"], n_edges=len(row["fc"]))
        about = dict.fromkeys(ABOUT) | {"scan_id": scan_id}
        _settle(found, about, row["fc"], misfit(contract, origin, as_trained))
    return found


def read_matrices(path: Path, contract: Contract, as_trained: bool) -> Found:
    """FC matrices ``*_relmat.tsv`` with their sidecars, as `connectivity` writes them (BEP017).

    A parcel without values correlates 0 with every other, as in the tables.
    """
    found = Found()
    files = [path] if path.is_file() else sorted(path.rglob("*_relmat.tsv"))
    for file in files:
        entities = dict(p.split("-", 1) for p in file.name.split("_") if "-" in p)
        participant = f"sub-{entities['sub']}" if "sub" in entities else None
        scan_id = file.name.removesuffix("_relmat.tsv")
        about = dict.fromkeys(ABOUT) | {"scan_id": scan_id, "participant_id": participant}
        try:
            parcels, matrix = _matrix(file)
            origin = _of_matrix(file, entities, parcels, len(matrix))
        except PredictError as error:
            found.add(about, None, "failed", str(error))
            continue
        _settle(found, about, vectorise(matrix), misfit(contract, origin, as_trained))
    return found


def _matrix(file: Path) -> tuple[list[str], np.ndarray]:
    """Names of the parcels, and FC (n_rois, n_rois)."""
    try:
        table = pd.read_csv(file, sep="\t", na_values=["n/a"], encoding="utf-8-sig")
        matrix = table.to_numpy(dtype=np.float64)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise PredictError(f"{file}: cannot be read as a matrix ({error}); copy it again") from None
    n = matrix.shape[1]
    if matrix.shape != (n, n) or n < 2:
        raise PredictError(
            f"{file}: found {matrix.shape[0]} rows and {n} columns, expected a square matrix under "
            "a header with the names of the parcels"
        )
    matrix = np.nan_to_num(matrix, nan=0.0)
    off = matrix[~np.eye(n, dtype=bool)]
    if not np.allclose(matrix, matrix.T, atol=1e-5) or np.abs(off).max() > 1 + 1e-6:
        raise PredictError(f"{file}: not symmetric or outside -1 to 1, expected correlations")
    return [str(c) for c in table.columns], matrix


def sidecar(file: Path) -> dict[str, Any]:
    """The JSON beside a file; empty if there is none.

    Raises
    ------
    PredictError
        If it is damaged.
    """
    path = file.with_suffix(".json")
    if not path.exists():
        return {}
    try:
        about = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise PredictError(f"{path}: unreadable sidecar ({error}); copy it again") from None
    if not isinstance(about, dict):
        raise PredictError(f"{path}: found no JSON object, expected one; copy it again")
    return about


def done_by(about: dict[str, Any]) -> Done | None:
    """What a sidecar of ours says was done; None if it says nothing."""
    names = {
        "denoise": "Denoise",
        "order": "FilterOrder",
        "filter": "Filter",
        "censor": "Censoring",
    }
    if "Denoise" not in about:
        return None
    return Done(**{key: about.get(name) for key, name in names.items()})


def _of_matrix(file: Path, entities: dict[str, str], parcels: list[str], n: int) -> Origin:
    about = sidecar(file)
    labels = {label: name for name, (label, _) in MEASURES.items()}
    return Origin(
        where=str(file),
        atlas=entities.get("atlas"),
        parcels=parcels,
        n_edges=n * (n - 1) // 2,
        estimator=about.get("Estimator") or labels.get(entities.get("stat", "")),
        done=done_by(about),
    )
