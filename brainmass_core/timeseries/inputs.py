"""Inputs of the time series of one scan: its row, outputs of `preprocess`, atlas, settings."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from brainmass_core.atlas import Atlas
from brainmass_core.config import Config
from brainmass_core.config.preprocess import Preprocess
from brainmass_core.config.timeseries import Timeseries
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.pipeline.paths import Paths
from brainmass_core.readers import FileError
from brainmass_core.readers.confounds import read_confounds_table
from brainmass_core.scans import of_images
from brainmass_core.scans.cpac import cpac_files
from brainmass_core.spaces import SpaceError
from brainmass_core.spaces.bridges import bridge
from brainmass_core.tables import read_table
from brainmass_core.timeseries.cpac import read_cpac

# without timings and checksums, which differ between runs and would invalidate finished work
FROM_PREPROCESS = [
    *("outputs", "space", "t_r", "n_dummy_volumes", "n_volumes", "mean_fd", "n_volumes_censored"),
]


class Sums(UserDict[str, str]):
    """sha256 of each output of `preprocess`, for verification only; not part of the fingerprint."""


@dataclass(frozen=True)
class TimeSeriesInput:
    """Input of a worker: one scan.

    Attributes
    ----------
    scan : dict
        Its row of the scans table.
    preprocessed : dict
        Results of `preprocess`, see `FROM_PREPROCESS`; empty unless the kind is `bids`.
    root : Path
        Results folder, which contains the outputs of `preprocess`.
    orientation : str or None
        Axes of stored arrays, kind `timeseries`; None if not configured.
    preprocess : Preprocess
        Settings of `preprocess`; its criteria also apply to kinds that it does not process.
    filtered : bool
        Whether to band-pass: always for images, optional for ready series.
    read : tuple of Path
        Files that are read in addition to those in `scan`.
    header : bool or None
        Whether text series have a header, kind `timeseries`; None if not configured.
    """

    scan: dict[str, Any]
    preprocessed: dict[str, Any]
    root: Path
    atlas: Atlas
    settings: Timeseries
    orientation: str | None
    preprocess: Preprocess
    filtered: bool
    read: tuple[Path, ...] = ()
    header: bool | None = None


def list_items(
    config: Config, dataset: str, batch: int, atlas: Atlas
) -> dict[str, TimeSeriesInput]:
    """Scans of a batch that reached this stage, by scan_id.

    Raises
    ------
    TableError
        If the scans or the preprocess table cannot be read.
    """
    paths = Paths(config.results)
    section = config.datasets[dataset]
    rows = read_table(paths.scans(dataset), "scans").to_pylist()
    scans = {r["scan_id"]: r for r in rows if r["batch"] == batch and r["excluded_reason"] is None}
    preprocessed: dict[str, dict[str, Any]] = {}
    if section.kind == "bids":
        table = read_table(paths.batch("preprocess", dataset, batch), "preprocess")
        found = table.select(["scan_id", "status", "sha256", *FROM_PREPROCESS]).to_pylist()
        preprocessed = {
            r["scan_id"]: r | {"outputs": dict(r["outputs"]), "sha256": Sums(r["sha256"] or [])}
            for r in found
            if r["status"] == "ok"
        }
        scans = {k: v for k, v in scans.items() if k in preprocessed}
    return {
        scan_id: TimeSeriesInput(
            scan=of_images(row),
            preprocessed=preprocessed.get(scan_id, {}),
            root=paths.results,
            atlas=atlas,
            settings=config.timeseries,
            orientation=section.orientation,
            header=section.header,
            preprocess=config.preprocess,
            filtered=section.kind != "timeseries" or section.band_pass,
            read=(
                *_also_read(row, preprocessed.get(scan_id, {}), paths.results),
                *_crossed(atlas, row["space"] or preprocessed.get(scan_id, {}).get("space")),
            ),
        )
        for scan_id, row in scans.items()
    }


def _also_read(
    scan: dict[str, Any], preprocessed: dict[str, Any], results: Path
) -> tuple[Path, ...]:
    """Outputs of `preprocess` for a scan, or the `.1D` files in the folder of its confounds."""
    confounds = scan["confounds_path"]
    beside = cpac_files(Path(confounds)) if confounds and confounds.endswith(".1D") else []
    outputs = [results.absolute() / file for file in preprocessed.get("outputs", {}).values()]
    return (*beside, *sorted(outputs))


def _crossed(atlas: Atlas, space: str | None) -> list[Path]:
    """TemplateFlow transforms between the atlas's and a scan's space."""
    if atlas.space is None or space is None:
        return []
    try:
        ways = [bridge(atlas.space, space).file, bridge(space, atlas.space).file]
    except SpaceError:  # reported when the scan is processed
        return []
    return [file for file in ways if file is not None]


def read_confounds(path: Path, n_volumes: int) -> pd.DataFrame:
    """Read a confounds table: fMRIPrep's, or the `.1D` files of a C-PAC run.

    Returns
    -------
    DataFrame (n_volumes rows)

    Raises
    ------
    ScanFailed
        If it cannot be read or has another number of rows.
    """
    try:
        confounds = read_cpac(path) if path.suffix == ".1D" else read_confounds_table(path)
    except FileError as error:
        raise ScanFailed(str(error), "confounds", "repair the table, or copy it again") from None
    except (OSError, ValueError) as error:
        raise ScanFailed(
            f"{path}: unreadable confounds table ({error})", "confounds", "copy it again"
        ) from None
    if len(confounds) != n_volumes:
        raise ScanFailed(
            f"{path}: found {len(confounds)} rows, expected one for each of {n_volumes} volumes",
            "confounds",
            "use the table that belongs to the image",
        )
    return confounds
