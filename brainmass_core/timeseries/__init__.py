"""From BOLD to clean parcel series: one interpolation, parcel means, nuisance regression."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from brainmass_core.atlas import resolve_atlas
from brainmass_core.config import Config
from brainmass_core.pipeline.batch import run_batch
from brainmass_core.pipeline.kept import Job
from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed, measured_so_far
from brainmass_core.pipeline.paths import Paths
from brainmass_core.preprocess.files.provenance import bids_uri
from brainmass_core.tables import from_rows, timeseries_schema
from brainmass_core.timeseries.censor import censor_text, censored_volumes
from brainmass_core.timeseries.denoise import Cleaned, NoFreedomError, modelled
from brainmass_core.timeseries.design import ConfoundsError, design_matrix
from brainmass_core.timeseries.extract import (
    Raw,
    from_bids,
    from_derivatives,
    from_ready_series,
    parcel_names,
)
from brainmass_core.timeseries.filters import filter_text, ideal_bandpass
from brainmass_core.timeseries.identity import series_fingerprint, source_checksum
from brainmass_core.timeseries.inputs import TimeSeriesInput, list_items
from brainmass_core.timeseries.motion_limits import not_applied
from brainmass_core.timeseries.parcellate import empty_rois
from brainmass_core.timeseries.write_derivatives import (
    SOURCE,
    names_of,
    write_dataset,
    write_model,
    write_scan,
)

__all__ = ["clean", "design_matrix", "ideal_bandpass", "run"]

log = logging.getLogger(__name__)

EXTRACT = {
    "bids": from_bids,
    "derivatives": from_derivatives,
    "timeseries": from_ready_series,
}


@dataclass(frozen=True)
class Model:
    """Nuisance regressors and censored volumes of one run.

    Attributes
    ----------
    design : DataFrame (n_timepoints rows) or None
        None for ready series.
    censored : ndarray (n_timepoints,) of bool or None
        Volumes with motion; None if the displacement is unknown.
    """

    design: pd.DataFrame | None
    censored: np.ndarray | None


def run(config: Config, dataset: str, batch: int, threads: int = 1) -> None:
    """Write the time series of one batch.

    Raises
    ------
    AtlasError
        If the atlas is not available.
    TableError
        If the scans or the preprocess table cannot be read.
    BatchError
        If the disk is full or workers cannot be started.
    """
    atlas = resolve_atlas(config)
    items = list_items(config, dataset, batch, atlas)
    if left := not_applied(config, dataset):
        kind = config.datasets[dataset].kind
        log.info("%s: not applied to data of kind %s: %s", dataset, kind, ", ".join(left))
    if config.timeseries.writes_derivatives:
        write_dataset(
            Paths(config.results).derivatives(dataset, "timeseries"),
            *("time series", dataset, config.datasets[dataset].path, atlas),
            config.timeseries.model_dump(mode="json"),
        )
    job = Job(config, "timeseries", dataset, batch, timeseries_schema(atlas.n_rois), threads)
    entries = run_batch(job, items, _process)
    log.info("timeseries %s/%s: %d scans", dataset, batch, len(entries))


def _process(item: TimeSeriesInput) -> pa.Table:
    """The row of one scan, and its files."""
    raw = EXTRACT[item.scan["kind"]](item)
    known = {
        "atlas": item.atlas.name,
        "space": item.atlas.space,
        "t_r": raw.t_r,
        "n_rois": item.atlas.n_rois,
        "mean_fd": raw.mean_fd,
        "fd_kind": raw.fd_kind,
        "coverage": raw.coverage.tolist(),
    }
    with measured_so_far(known):
        return _denoised(item, raw, known)


def _denoised(item: TimeSeriesInput, raw: Raw, known: dict[str, Any]) -> pa.Table:
    _refuse_short(item, raw)
    empty = _empty(item, raw)
    model, cleaned = _cleaned(item, raw, empty)
    bold = np.full((len(cleaned.series), len(empty)), np.nan, dtype=np.float32)
    bold[:, ~empty] = cleaned.series
    row = known | _about(item, raw.cleaned_by, model, cleaned)
    row |= {
        "scan_id": item.scan["scan_id"],
        "status": "ok",
        "source_checksum": source_checksum(Path(item.scan["bold_path"]), item.scan["bold_key"]),
        "series_fingerprint": series_fingerprint(bold),
        "n_timepoints": len(bold),
        "n_empty_rois": int(empty.sum()),
    }
    if item.settings.writes_derivatives:
        _write(item, raw, model, bold, row)
    row["bold"] = bold.tolist()
    return from_rows([row], timeseries_schema(item.atlas.n_rois))


def _refuse_short(item: TimeSeriesInput, raw: Raw) -> None:
    if len(raw.series) < item.preprocess.min_volumes:
        raise ScanExcluded(
            f"{item.scan['bold_path']}: {len(raw.series)} timepoints, fewer than "
            f"preprocess.min_volumes {item.preprocess.min_volumes}",
            "length",
        )


def _empty(item: TimeSeriesInput, raw: Raw) -> np.ndarray:
    """Find parcels (n_rois,) without a signal; excludes a scan with too many."""
    settings = item.settings
    empty = empty_rois(np.where(raw.coverage >= settings.min_coverage, raw.series, np.nan))
    if empty.sum() > settings.max_empty_rois:
        raise ScanExcluded(
            f"{item.scan['bold_path']}: {int(empty.sum())} parcels are constant or covered by less "
            f"than {settings.min_coverage:g}, more than timeseries.max_empty_rois "
            f"{settings.max_empty_rois}: {parcel_names(item.atlas, np.flatnonzero(empty))}",
            "coverage",
        )
    return empty


def _cleaned(item: TimeSeriesInput, raw: Raw, empty: np.ndarray) -> tuple[Model, Cleaned]:
    """Clean the parcels that are not empty, with the residual degrees of freedom."""
    x = raw.series[:, ~empty]
    try:
        model = _model(item, raw)
        _refuse_few_minutes(item, raw, model)
        design = None if model.design is None else model.design.to_numpy()
        cleaned = modelled(x, raw.t_r, design, model.censored, _band(item), item.settings)
    except ConfoundsError as error:
        place = item.scan["confounds_path"] or item.scan["bold_path"]
        raise ScanFailed(f"{place}: {error}", "confounds") from None
    except NoFreedomError as error:
        raise ScanExcluded(f"{item.scan['bold_path']}: {error}", "denoise") from None
    except ScanFailed:
        raise
    except ValueError as error:
        raise ScanFailed(f"{item.scan['bold_path']}: {error}", "denoise") from None
    return model, cleaned


def _band(item: TimeSeriesInput) -> tuple[float | None, float | None]:
    return (item.settings.low_hz, item.settings.high_hz) if item.filtered else (None, None)


def _model(item: TimeSeriesInput, raw: Raw) -> Model:
    if raw.confounds is None:
        return Model(None, None)
    design = design_matrix(raw.confounds, item.settings)
    return Model(design, censored_volumes(raw.confounds, item.settings.censor))


def _refuse_few_minutes(item: TimeSeriesInput, raw: Raw, model: Model) -> None:
    censor, n = item.settings.censor, len(raw.series)
    left = n
    if model.censored is not None and censor.method != "none":
        left -= int(model.censored.sum())
    if left * raw.t_r / 60 < censor.min_minutes:
        raise ScanExcluded(
            f"{item.scan['bold_path']}: {left * raw.t_r / 60:.2f} min ({left} of {n} volumes) are "
            f"left after censoring ({censor_text(censor)}), less than timeseries.censor.min_minutes"
            f" {censor.min_minutes:g}",
            "censor",
        )


def _about(
    item: TimeSeriesInput, cleaned_by: str, model: Model, cleaned: Cleaned
) -> dict[str, Any]:
    """Columns of the table that describe the processing of a scan."""
    settings = item.settings
    band = filter_text(settings.filter, *_band(item))
    ready = item.scan["kind"] == "timeseries"
    name = ("band-pass" if item.filtered else "as given") if ready else settings.denoise
    alone = ("none" if band == "none" else "filter") if model.design is None else "regress"
    return {
        "denoise": f"{name} after {cleaned_by}" if cleaned_by else name,
        "order": settings.order if alone == "regress" and band != "none" else alone,
        "filter": band,
        "censor": "none" if model.censored is None else censor_text(settings.censor),
        "n_regressors": 0 if model.design is None else cleaned.n_regressors,
        "n_censored": None if model.censored is None else int(model.censored.sum()),
        "residual_dof": cleaned.residual_dof,
    }


def _write(
    item: TimeSeriesInput, raw: Raw, model: Model, bold: np.ndarray, row: dict[str, Any]
) -> None:
    """Write the scan as BIDS derivatives, if it has a BIDS name."""
    root = Paths(item.root).derivatives(item.scan["dataset"], "timeseries")
    scan_id = item.scan["scan_id"]
    names = names_of(root, item.scan["dataset"], scan_id, item.atlas.space, item.atlas.name)
    if names is None:
        return
    about = {
        "SamplingFrequency": 1.0 / raw.t_r,
        "RepetitionTime": raw.t_r,
        "Atlas": item.atlas.name,
        "AtlasSpace": item.atlas.space,
        "TemplateSpace": item.scan.get("space") or item.preprocessed.get("space"),
        "Denoise": row["denoise"],
        "FilterOrder": row["order"],
        "Filter": row["filter"],
        "Censoring": row["censor"],
        "NumberOfVolumes": row["n_timepoints"],
        "NumberOfCensoredVolumes": row["n_censored"],
        "NumberOfRegressors": row["n_regressors"],
        "EffectiveDegreesOfFreedom": round(row["residual_dof"], 3),
        "GlobalSignalRegression": item.settings.global_signal if model.design is not None else None,
        "Sources": [bids_uri(item.scan["bold_path"], dataset=SOURCE)],
    }
    write_scan(names, item.atlas, bold, raw.coverage, about)
    if model.design is not None:
        write_model(names, model.design, model.censored, item.settings)
