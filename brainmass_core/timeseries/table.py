"""Read the time-series table as arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from brainmass_core.tables import TableError


def bold_by_scan(table: pa.Table) -> dict[str, np.ndarray]:
    """Series of all scans that have one.

    Parameters
    ----------
    table : Table
        Schema `tables.timeseries_schema`, at least scan_id, status and bold.

    Returns
    -------
    dict
        scan_id to a float32 array (n_timepoints, n_rois), NaN in parcels that are not covered; a
        view where possible.
    """
    n_rois = table.schema.field("bold").type.value_type.list_size
    series = {}
    for chunk in table.select(["scan_id", "status", "bold"]).to_batches():
        lengths = chunk["bold"].value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        ends = np.cumsum(lengths)
        # flatten() skips nulls and respects the chunk's offset; .values does neither
        values = chunk["bold"].flatten().flatten().to_numpy(zero_copy_only=False)
        bold = values.reshape(-1, n_rois)
        for scan_id, status, n, end in zip(
            chunk["scan_id"].to_pylist(), chunk["status"].to_pylist(), lengths, ends, strict=True
        ):
            if status == "ok":
                series[scan_id] = bold[end - n : end]
    return series


def refuse_partial(series: np.ndarray, where: str) -> None:
    """Refuse a series that the stage would not have written.

    Parameters
    ----------
    series : ndarray (n_timepoints, n_rois)
    where : str
        File and scan, for the message.

    Raises
    ------
    TableError
        If a parcel is missing or infinite at some timepoints only: correlations and scaling would
        silently drop all of it.
    """
    finite = np.isfinite(series)
    whole = finite.all(axis=0) | np.isnan(series).all(axis=0)
    if whole.all():
        return
    named = ", ".join(map(str, np.flatnonzero(~whole)[:5]))
    raise TableError(
        f"{where}: {int((~whole).sum())} parcels, such as {named} (from 0), are missing or "
        f"infinite at some timepoints, of {int((~finite).sum())} values in all, expected all "
        "finite or all missing; remove the table and run: snakemake --cores all timeseries"
    )
