"""Process raw scans, derivatives and series with the stages and the model's settings."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from brainmass_core import connectivity, preprocess, scans, timeseries
from brainmass_core.atlas import AtlasError, resolve_atlas
from brainmass_core.config import Config, ConfigError, dump_config, parse_config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.predict.compatibility import PredictError, Provenance
from brainmass_core.predict.contract import Contract
from brainmass_core.predict.inputs import Found, done_by, sidecar, t_r_in, text_in
from brainmass_core.predict.model import Model
from brainmass_core.predict.remedies import DATASET, as_options, logged_as_options
from brainmass_core.predict.results import Measured, read_results, sized
from brainmass_core.readers.files import FileError
from brainmass_core.readers.sidecar import read_object
from brainmass_core.scans.repetition_time import LONGEST_T_R
from brainmass_core.tables import read_table
from brainmass_core.tables.text import tsv_text

DERIVED = "**/*stat-mean_timeseries.tsv"  # files written by `timeseries`


@dataclass(frozen=True)
class Options:
    """Options of the user in addition to model and input.

    Attributes
    ----------
    phenotype : Path, optional
        Table with participant_id or scan_id, and site, sex, age, mean_fd as far as the model needs
        them. Default: ``participants.tsv`` of the input.
    t_r : float, optional
        Repetition time of ready series, s.
    atlas : Path, optional
        Label image, if the model's atlas cannot be looked up by name.
    as_trained : bool
        Whether unknown properties of the input are assumed to match the model.
    pattern : str, optional
        Glob of series in a folder; all files that look like series by default.
    threads : int
        Number of scans processed in parallel.
    missing_values : tuple of str
        Codes of missing values in `phenotype`, in addition to those of the training data.
    valid_values : tuple of float
        Numbers in `phenotype` that look like codes of missing values but are measured values.
    datasets : tuple of str
        Data sets of a results folder to score; all by default.
    header, array, orientation
        Settings of ready series, as for a data set.
    """

    phenotype: Path | None = None
    t_r: float | None = None
    atlas: Path | None = None
    as_trained: bool = False
    pattern: str | None = None
    threads: int = 1
    datasets: tuple[str, ...] = ()
    missing_values: tuple[str, ...] = ()
    valid_values: tuple[float, ...] = ()
    header: bool | None = None
    array: str | None = None
    orientation: str | None = None


def by_stages(kind: str, path: Path, model: Model, options: Options, work: Path) -> Found:
    """Run scans, preprocess (raw BIDS), timeseries and, for FC, connectivity; read the results.

    Parameters
    ----------
    kind : {"bids", "derivatives", "series"}
    work : Path
        Results folder of these stages; a second call resumes from it.

    Raises
    ------
    PredictError
        If the model was not trained on such data, or the atlas is not available.
    """
    contract, series = model.contract, kind == "series"
    if not series:
        _refuse_other_kind(kind, path, contract)
    config = config_for(kind, path, contract, options, work)
    if not series:
        _check_atlas(config, contract)
    if not series:
        # makes it a results folder; not for series, whose provenance would then seem known
        (work / "config.yaml").write_text(dump_config(config))
    with logged_as_options():
        try:
            _run_stages(config, kind, contract, options.threads)
        except ValueError as error:
            raise PredictError(as_options(str(error))) from None
    if not series:
        return _renamed(read_results(config, model, [DATASET]))
    listed = read_table(Paths(config.results).scans(DATASET), "scans", ["scan_id", "bold_path"])
    files = {row["scan_id"]: Path(row["bold_path"]) for row in listed.to_pylist()}

    def provenance_of(measured: Measured) -> Provenance:
        return _provenance(files[measured.made["scan_id"]], measured, contract, options)

    return _renamed(read_results(config, model, [DATASET], provenance_of, options.as_trained))


def _run_stages(config: Config, kind: str, contract: Contract, threads: int) -> None:
    scans.run(config, DATASET)
    if kind == "bids":
        preprocess.run(config, DATASET, 0, threads)
    timeseries.run(config, DATASET, 0, threads)
    if contract.series is None:
        connectivity.run(config, DATASET, 0, threads)


def config_for(kind: str, path: Path, contract: Contract, options: Options, work: Path) -> Config:
    """The model's configuration of these stages, with the input as the only data set."""
    labels = work / "labels.tsv"
    work.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(contract.atlas.table)
    labels.write_text(tsv_text(table.loc[:, (table != "").any()], missing=""), encoding="utf-8")
    atlas = {"name": contract.atlas.configured}
    if contract.atlas.space and not contract.atlas.approximate:
        atlas["space"] = contract.atlas.space
    if options.atlas is not None:
        atlas["path"] = str(options.atlas)
    if not contract.atlas.approximate:
        atlas["labels"] = str(labels)
    raw = {
        "results": str(work),
        "max_failed_fraction": 1.0,  # failures are reported for each scan
        "datasets": {DATASET: _dataset(kind, path, contract, options)},
        "atlas": atlas,
        "preprocess": contract.preprocess.model_dump(mode="json")
        | {"derivatives": "minimal", "write_bold": False},
        "timeseries": contract.timeseries.model_dump(mode="json") | {"derivatives": False},
        "connectivity": contract.connectivity.model_dump(mode="json"),
    }
    try:
        return parse_config(raw, f"settings of the model for {path}")
    except ConfigError as error:
        raise PredictError(as_options(str(error))) from None


def _dataset(kind: str, path: Path, contract: Contract, options: Options) -> dict[str, Any]:
    # a role without evaluation: no split, no labels
    dataset: dict[str, Any] = {"role": "pretrain", "path": str(path), "kind": kind}
    if kind == "series":
        dataset |= _series(path, contract, options)
    elif kind == "bids" and _synthetic(path):
        dataset["synthetic"] = {}  # allows the approximate atlas of the demo
    return dataset


def _series(path: Path, contract: Contract, options: Options) -> dict[str, Any]:
    ready: dict[str, Any] = contract.processing.get("timeseries", [{}])[0]
    filtered = bool(ready.get("band_pass"))
    if filtered and options.t_r is None:
        raise PredictError(
            f"{path}: the model band-passes ready series, for which t_r is needed; give --t-r"
        )
    # without a filter t_r is not used, but the table needs a value
    t_r = (contract.t_r[0] if contract.t_r else 2.0) if options.t_r is None else options.t_r
    found: dict[str, Any] = {"kind": "timeseries", "t_r": t_r, "band_pass": filtered}
    if options.t_r is None:
        found["t_r_tolerance"] = LONGEST_T_R  # t_r was not given, so no sidecar can contradict it
    found |= {"header": options.header, "array": options.array, "orientation": options.orientation}
    if path.is_file():
        derived = bool(sidecar(path))
        here = {"path": str(path.parent), "pattern": glob.escape(path.name)}
    else:
        derived = next(path.glob(DERIVED), None) is not None
        here = {"pattern": options.pattern or (DERIVED if derived else "*")}
    # series with a sidecar of brainmass are already clean
    return found | here | {"band_pass": filtered and not derived}


def _synthetic(path: Path) -> bool:
    try:
        about = read_object(path / "dataset_description.json")
        return any(by.get("Name") == "brainmass demo" for by in about.get("GeneratedBy", []))
    except (FileError, AttributeError, TypeError):
        return False


def _refuse_other_kind(kind: str, path: Path, contract: Contract) -> None:
    if kind not in contract.processing:
        raise PredictError(
            f"{path}: found data of kind {kind}, but the model was trained on kind "
            f"{' and '.join(contract.processing)}: their preprocessing differs; apply the same "
            "preprocessing to the scans first, or train on data of this kind"
        )


def _check_atlas(config: Config, contract: Contract) -> None:
    try:
        atlas = resolve_atlas(config)
    except AtlasError as error:
        text = as_options(str(error))
        if "--atlas" not in text:
            text += "\ngive the label image of the model by --atlas"
        raise PredictError(text) from None
    if atlas.sha256 != contract.atlas.sha256:
        raise PredictError(
            f"{atlas.image or atlas.name}: found an atlas with sha256 {atlas.sha256}, the model's "
            f"{contract.atlas.name} has {contract.atlas.sha256}; give its label image by --atlas"
        )


def _provenance(file: Path, measured: Measured, contract: Contract, options: Options) -> Provenance:
    """Provenance of ready series from their sidecar, or from the user's options."""
    about = sidecar(file)
    provenance = Provenance(
        where=str(file),
        atlas=text_in(about, "Atlas", file),
        estimator=contract.connectivity.estimator,  # FC is computed here
        unit=contract.connectivity.unit,
        done=done_by(about, file),
        t_r=t_r_in(about, file) or options.t_r,
    )
    return sized(provenance, measured.values)


def _renamed(found: Found) -> Found:
    """Remove the name of the data set from names of scans."""
    prefix = f"{DATASET}_"
    rows = [
        r | {"scan_id": r["scan_id"].removeprefix(prefix), "reason": as_options(r["reason"] or "")}
        for r in found.rows
    ]
    return Found(rows, {k.removeprefix(prefix): v for k, v in found.seen.items()})
