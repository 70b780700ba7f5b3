"""A study of two runs each, joined, before `finetune`."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_study import Study, shared, write_study

from brainmass_core import connectivity, pfc
from brainmass_core.config.sections import Connectivity
from brainmass_core.pipeline.batch import IN_LINE
from brainmass_core.pipeline.manifest import read_manifest, write_manifest
from brainmass_core.scans.table import Unmatched, write_scans
from brainmass_core.tables import read_table, timeseries_schema, write_table


def joined_study(built_once) -> Study:
    """The study that several tests read, built once per run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(IN_LINE, "1")
        return shared(built_once, "joined", joined)


def joined(folder: Path, unit: str = "participant", n: int = 30) -> Study:
    """A study of two runs each, joined; s05 has no first run and s07 has none."""
    study = write_study(folder, methods=("chance", "fc_svm"), runs=2, n_participants=n)
    scans = study.scans.copy()
    gone = scans["scan_id"].isin(["demo_s05_run-0", "demo_s07_run-0", "demo_s07_run-1"])
    scans.loc[gone, "excluded_reason"] = "/data/x.npy: truncated"
    write_scans(study.paths.scans("demo"), scans, Unmatched(), "hash")
    _forget(study, set(scans.loc[gone, "scan_id"]))
    sections = {
        "connectivity": Connectivity(unit=unit),
        "timeseries": study.config.timeseries.model_copy(update={"derivatives": False}),
    }
    study = Study(study.config.model_copy(update=sections), scans)
    for batch in range(2):
        connectivity.run(study.config, "demo", batch)
        pfc.run(study.config, "demo", batch)
    return study


def _forget(study: Study, ids: set[str]) -> None:
    for batch in range(2):
        path = study.paths.batch("timeseries", "demo", batch)
        rows = [r for r in read_table(path, "timeseries").to_pylist() if r["scan_id"] not in ids]
        schema = timeseries_schema(rows[0]["n_rois"])
        table = read_table(path, "timeseries").from_pylist(rows, schema)
        write_table(path, table, "timeseries", "hash")
        path = study.paths.manifest("timeseries", "demo", batch)
        write_manifest(path, [e for e in read_manifest(path) if e.scan_id not in ids], "hash")
