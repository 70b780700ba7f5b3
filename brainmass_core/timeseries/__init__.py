"""From BOLD to clean parcel series: one interpolation, parcel means, nuisance on the parcels."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pyarrow as pa

from brainmass_core.atlas import resolve_atlas
from brainmass_core.batch import Job, run_batch
from brainmass_core.config import Config
from brainmass_core.manifest import ScanExcluded, ScanFailed
from brainmass_core.tables import from_rows, timeseries_schema
from brainmass_core.timeseries.denoise import NoFreedomError, clean
from brainmass_core.timeseries.design import ConfoundsError, design_matrix
from brainmass_core.timeseries.extract import (
    Raw,
    from_bids,
    from_derivatives,
    from_ready_series,
    parcel_names,
)
from brainmass_core.timeseries.filters import ideal_bandpass
from brainmass_core.timeseries.inputs import Item, list_items
from brainmass_core.timeseries.parcellate import empty_rois

__all__ = ["clean", "design_matrix", "ideal_bandpass", "run"]

log = logging.getLogger(__name__)

EXTRACT = {
    "bids": from_bids,
    "derivatives": from_derivatives,
    "timeseries": from_ready_series,
}


def run(config: Config, dataset: str, batch: int, threads: int = 1) -> None:
    """Write the time series of one batch.

    Raises
    ------
    AtlasError
        If the atlas cannot be had.
    TableError
        If the scans or the preprocess table cannot be read.
    BatchError
        If the disk is full or too many scans failed.
    """
    atlas = resolve_atlas(config)
    items = list_items(config, dataset, batch, atlas)
    job = Job(config, "timeseries", dataset, batch, timeseries_schema(atlas.n_rois), threads)
    entries = run_batch(job, items, _process)
    log.info("timeseries %s/%s: %d scans", dataset, batch, len(entries))


def _process(item: Item) -> pa.Table:
    """The row of one scan."""
    raw = EXTRACT[item.scan["kind"]](item)
    _refuse_short(item, raw)
    bold, dof, n_empty = _cleaned(item, raw)
    row: dict[str, Any] = {
        "scan_id": item.scan["scan_id"],
        "status": "ok",
        "atlas": item.atlas.name,
        "space": item.atlas.space,
        "denoise": _denoise_name(item),
        "t_r": raw.t_r,
        "n_timepoints": len(bold),
        "n_censored": raw.n_censored,
        "residual_dof": dof,
        "n_rois": item.atlas.n_rois,
        "n_empty_rois": n_empty,
        "mean_fd": raw.mean_fd,
        "coverage": raw.coverage.tolist(),
        "bold": bold.tolist(),
    }
    return from_rows([row], timeseries_schema(item.atlas.n_rois))


def _denoise_name(item: Item) -> str:
    if item.scan["kind"] != "timeseries":
        return item.settings.denoise
    return "band-pass" if item.filtered else "as given"


def _refuse_short(item: Item, raw: Raw) -> None:
    if len(raw.series) < item.preprocess.min_volumes:
        raise ScanExcluded(
            f"{item.scan['bold_path']}: {len(raw.series)} timepoints, fewer than "
            f"preprocess.min_volumes {item.preprocess.min_volumes}",
            "length",
        )


def _cleaned(item: Item, raw: Raw) -> tuple[np.ndarray, float, int]:
    """Series (n_timepoints, n_rois), NaN in parcels that are not covered; residual dof; n empty."""
    settings = item.settings
    series = np.where(raw.coverage >= settings.min_coverage, raw.series, np.nan)
    empty = empty_rois(series)
    if empty.sum() > settings.max_empty_rois:
        raise ScanExcluded(
            f"{item.scan['bold_path']}: {int(empty.sum())} parcels are constant or covered by less "
            f"than {settings.min_coverage:g}, more than timeseries.max_empty_rois "
            f"{settings.max_empty_rois}: {parcel_names(item.atlas, np.flatnonzero(empty))}",
            "coverage",
        )
    if raw.confounds is None and not item.filtered:
        return (
            np.where(empty, np.nan, series).astype(np.float32),
            len(series) - 1.0,
            int(empty.sum()),
        )
    band = (settings.low_hz, settings.high_hz) if item.filtered else (None, None)
    try:
        design = None
        if raw.confounds is not None:
            design = design_matrix(raw.confounds, settings).to_numpy()
        result = clean(series[:, ~empty], raw.t_r, design, *band, settings.order)
        cleaned, dof = result.series, result.residual_dof
    except ConfoundsError as error:
        raise ScanFailed(f"{item.scan['bold_path']}: {error}", "confounds") from None
    except NoFreedomError as error:
        raise ScanExcluded(f"{item.scan['bold_path']}: {error}", "denoise") from None
    except ValueError as error:
        raise ScanFailed(f"{item.scan['bold_path']}: {error}", "denoise") from None
    bold = np.full(series.shape, np.nan, dtype=np.float32)
    bold[:, ~empty] = cleaned
    return bold, dof, int(empty.sum())
