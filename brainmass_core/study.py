"""Read a finished study as tables and arrays, for notebooks; nothing is recomputed or changed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from brainmass_core.config import Config, load_config
from brainmass_core.config.base import near_miss
from brainmass_core.pipeline.manifest import read_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.stages import STAGES, stages_of
from brainmass_core.scans.units import joins
from brainmass_core.tables import read_table
from brainmass_core.timeseries.table import bold_by_scan

if TYPE_CHECKING:
    from brainmass_core.models.pretrained import Pretrained

__all__ = ["StudyError", "StudyResults", "load_study"]


class StudyError(ValueError):
    """A study, or a part of it, does not exist."""


def load_study(results: str | Path) -> StudyResults:
    """Open the results folder of a study.

    Parameters
    ----------
    results : path
        Folder named by ``results`` in its configuration.

    Returns
    -------
    StudyResults

    Raises
    ------
    StudyError
        If the folder contains no study.
    ConfigError
        If its configuration was made by another version.
    """
    folder = Path(results)
    file = folder / "config.yaml"
    if not file.is_file():
        raise StudyError(
            f"{folder}: it contains no config.yaml, so it is not a results folder; give the "
            "folder that `results` of the configuration names, after a run"
        )
    config = load_config(file, check_paths=False)
    return StudyResults(config.model_copy(update={"results": folder}))


class StudyResults:
    """Results of a study, read from its results folder.

    Every table is checked when it is read: a damaged or missing table raises a `TableError` that
    names the target which makes it again.

    Attributes
    ----------
    config : Config
        The complete configuration of the study's last run.

    Examples
    --------
    >>> study = load_study("results")
    >>> scans, fc = study.connectivity("demo")  # (n_scans rows), (n_scans, n_edges)
    >>> study.metrics("demo_diagnosis")[["method", "auc", "auc_low", "auc_high"]]
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._paths = Paths(config.results)

    def __repr__(self) -> str:
        return f"StudyResults({str(self.config.results)!r}, {self.datasets}, {self.tasks})"

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets."""
        return list(self.config.datasets)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return list(self.config.tasks)

    def scans(self, dataset: str | None = None) -> pd.DataFrame:
        """Scans: participant, role, split, phenotypes (``pheno_...``), reason for exclusion.

        Parameters
        ----------
        dataset : str, optional
            One of `datasets`. Default: all.

        Returns
        -------
        DataFrame
            `tables.SCANS` and phenotypes: one row per scan, including excluded ones.

        Raises
        ------
        StudyError
            If there is no such data set.
        TableError
            If the table is missing or damaged.
        """
        names = self.datasets if dataset is None else [self._dataset(dataset)]
        found = [read_table(self._paths.scans(name), "scans").to_pandas() for name in names]
        return pd.concat(found, ignore_index=True)

    def outcomes(self, dataset: str | None = None) -> pd.DataFrame:
        """Outcome of each scan in each stage: status, reason, step, remedy, seconds.

        Parameters
        ----------
        dataset : str, optional
            Default: all.

        Returns
        -------
        DataFrame
            One row per scan and stage.
        """
        entries = [
            entry
            for name in (self.datasets if dataset is None else [self._dataset(dataset)])
            for stage in stages_of("batch")
            for batch in range(self.config.datasets[name].batches)
            if (file := self._paths.manifest(stage, name, batch)).exists()
            for entry in read_manifest(file)
        ]
        columns = ["stage", "dataset", "scan_id", "status", "reason", "step", "remedy", "seconds"]
        return pd.DataFrame([{c: getattr(e, c) for c in columns} for e in entries], columns=columns)

    def series(self, scan_ids: str | Iterable[str]) -> list[np.ndarray]:
        """Clean parcel series of scans.

        Parameters
        ----------
        scan_ids : str or iterable of str

        Returns
        -------
        list of ndarray (n_timepoints, n_rois), float32
            NaN in parcels without a signal.

        Raises
        ------
        StudyError
            If a scan does not exist, or failed or was excluded before it had a series.
        """
        wanted = [scan_ids] if isinstance(scan_ids, str) else list(scan_ids)
        scans = self.scans().set_index("scan_id")
        if unknown := [s for s in wanted if s not in scans.index]:
            raise StudyError(f"no scan {unknown[0]!r}{near_miss(unknown[0], scans.index)}")
        found: dict[str, np.ndarray] = {}
        batches = scans.loc[wanted, ["dataset", "batch"]].drop_duplicates()
        for name, batch in batches.itertuples(index=False, name=None):
            file = self._paths.batch("timeseries", name, int(batch))
            found |= bold_by_scan(read_table(file, "timeseries", ["scan_id", "status", "bold"]))
        if lost := [s for s in wanted if s not in found]:
            raise StudyError(
                f"{len(lost)} of {len(wanted)} scans have no series, among them {lost[0]!r}; "
                "`outcomes` says why"
            )
        return [found[s] for s in wanted]

    def connectivity(self, dataset: str) -> tuple[pd.DataFrame, np.ndarray]:
        """Functional connectivity of a data set.

        Parameters
        ----------
        dataset : str

        Returns
        -------
        scans : DataFrame (n_scans rows)
            Rows of the scans table, in the order of `fc`, without scans that failed or were
            excluded. For joined runs (`connectivity.unit`) the row of the first run, with the name
            of the unit; `joined` lists all runs, and `n_listed` is their number in the scans table.
        fc : ndarray (n_scans, n_edges), float32
            Upper triangles in row-major order; `unvectorise` converts them to matrices.
        """
        name = self._dataset(dataset)
        tables = pa.concat_tables(
            read_table(self._paths.batch("connectivity", name, batch), "connectivity")
            for batch in range(self.config.datasets[name].batches)
        )
        fc = tables["fc"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        scans = self.scans(name).set_index("scan_id", drop=False)
        if joins(self.config):
            joined = tables["joined"].to_pylist()
            rows = scans.loc[[runs[0] for runs in joined]].reset_index(drop=True)
            of_units = {c: tables[c].to_pylist() for c in ("scan_id", "joined", "n_listed")}
            rows = rows.assign(**of_units)
        else:
            rows = scans.loc[tables["scan_id"].to_pylist()].reset_index(drop=True)
        return rows, fc.reshape(len(rows), -1)

    def metrics(self, task: str) -> pd.DataFrame:
        """Scores of every method of a task, with their intervals.

        Parameters
        ----------
        task : str
            One of `tasks`.

        Returns
        -------
        DataFrame
            `tables.METRICS`: one row per method.

        Raises
        ------
        StudyError
            If there is no such task.
        TableError
            If the table is missing or damaged.
        """
        return self._of_task(task, "metrics")

    def predictions(self, task: str) -> pd.DataFrame:
        """Scores of every tested scan by every method, repeat and fold of a task.

        Parameters
        ----------
        task : str
            One of `tasks`.

        Returns
        -------
        DataFrame
            `tables.PREDICTIONS`: one row per method, repeat, fold and tested scan.

        Raises
        ------
        StudyError
            If there is no such task.
        TableError
            If the table is missing or damaged.
        """
        return self._of_task(task, "predictions")

    def cohort(self, task: str) -> pd.DataFrame:
        """Cohort of a task: scans that were used, and reasons for excluding others.

        Parameters
        ----------
        task : str
            One of `tasks`.

        Returns
        -------
        DataFrame
            `tables.COHORT`: one row per scan.

        Raises
        ------
        StudyError
            If there is no such task.
        TableError
            If the table is missing or damaged.
        """
        return self._of_task(task, "cohort")

    def regions(self, task: str) -> pd.DataFrame:
        """Importance, rank, stability and p of every region, by method.

        Parameters
        ----------
        task : str
            One of `tasks`.

        Returns
        -------
        DataFrame
            `tables.REGIONS`: one row per method and region.

        Raises
        ------
        StudyError
            If there is no such task.
        TableError
            If the table is missing or damaged.
        """
        file = self._paths.interpret(self._task(task), "regions.parquet")
        return read_table(file, "regions").to_pandas()

    def quality(self, dataset: str) -> pd.DataFrame:
        """Quality measures of each scan of a data set.

        Parameters
        ----------
        dataset : str
            One of `datasets`.

        Returns
        -------
        DataFrame
            `tables.QUALITY`: one row per scan.

        Raises
        ------
        StudyError
            If there is no such data set.
        TableError
            If the table is missing or damaged.
        """
        name = self._dataset(dataset)
        found = [
            read_table(self._paths.batch("quality", name, batch), "quality").to_pandas()
            for batch in range(self.config.datasets[name].batches)
        ]
        return pd.concat(found, ignore_index=True)

    def model(self) -> Pretrained:
        """The pre-trained encoder, in evaluation mode.

        Raises
        ------
        ModelError
            If there is no model, or its files are damaged.
        """
        from brainmass_core.encoders.interface import implementation_of

        return implementation_of(self.config.pretrain.encoder).pretrained(self.config)

    def _of_task(self, task: str, table: str) -> pd.DataFrame:
        assert table in STAGES["finetune"].outputs
        file = self._paths.finetune(self._task(task)) / f"{table}.parquet"
        return read_table(file, table).to_pandas()

    def _dataset(self, name: str) -> str:
        if name not in self.config.datasets:
            raise StudyError(f"no data set {name!r}{near_miss(name, self.config.datasets)}")
        return name

    def _task(self, name: str) -> str:
        if name not in self.config.tasks:
            raise StudyError(f"no task {name!r}{near_miss(name, self.config.tasks)}")
        return name
