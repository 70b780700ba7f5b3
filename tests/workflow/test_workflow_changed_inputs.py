"""A changed, added or deleted input repeats what it concerns, and nothing else.

The series are those of `study.write_ready_series`: 32 participants in two batches, joined by a
phenotype table with a row per scan. Every test puts back what it changed.
"""

import os
import re
from contextlib import contextmanager

import numpy as np
import pytest
import study

from brainmass_core.pipeline.hashing import batch_of

pytestmark = pytest.mark.slow

TARGETS = ("connectivity", "pfc", "quality")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("changed")
    study.write_ready_series(folder / "data")
    study.write_config(folder, study.ready_series_config(folder / "data"))
    done = study.snakemake(folder, "--cores", "2", *TARGETS)
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


def planned(folder) -> dict[str, set[str]]:
    """Rules that would run, and the batches of each."""
    done = study.snakemake(folder, "--dry-run", "--cores", "1", *TARGETS)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=(?:local)?rule )", done.stdout + done.stderr)[1:]:
        rule = re.match(r"(?:local)?rule (\w+):", block)[1]
        batch = re.search(r"wildcards: .*batch=(\d+)", block)
        found.setdefault(rule, set()).update([batch[1]] if batch else [])
    return {rule: batches for rule, batches in found.items() if rule not in TARGETS}


@contextmanager
def changed(*paths):
    """Files as they were, afterwards, with the same time of change."""
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) if p.exists() else None for p in paths}
    yield
    for path, was in before.items():
        if was is None:
            path.unlink()
        else:
            path.write_bytes(was[0])
            os.utime(path, ns=(was[1], was[1]))


def batch(number: int) -> str:
    return str(batch_of("ready", f"p{number:03d}", 2))


@pytest.mark.nightly
def test_a_changed_series_repeats_its_batch_alone_and_an_older_time_counts_too(folder):
    file = folder / "data" / "scan004.1D"
    with changed(file):
        file.write_text(file.read_text().replace("0.1", "0.2", 1))
        os.utime(file, ns=(10**18, 10**18))
        found = planned(folder)
    assert found["scans_of_dataset"] == set()
    for rule in ("timeseries_batch", "connectivity_batch", "quality_batch", "pfc_batch"):
        assert found[rule] == {batch(4)}
    assert planned(folder) == {}  # as it was before


@pytest.mark.nightly
def test_a_deleted_series_repeats_its_batch_and_the_split(folder):
    file = folder / "data" / "scan004.1D"
    with changed(file):
        file.unlink()
        found = planned(folder)
    assert found["timeseries_batch"] == found["quality_batch"] == {batch(4)}
    assert found["pfc_batch"] == {"0", "1"}  # one participant less may move others


@pytest.mark.nightly
def test_an_edited_phenotype_that_nobody_processes_repeats_no_batch(folder):
    table = folder / "data" / "phenotype.csv"
    with changed(table):
        table.write_text(
            re.sub(r"^(scan004,p004,\w,)\d+", r"\g<1>61", table.read_text(), flags=re.M)
        )
        found = planned(folder)
    assert set(found) == {"scans_of_dataset", "quality_dataset"}


@pytest.mark.nightly
def test_an_edited_repetition_time_repeats_the_batch_of_its_scan(folder):
    table = folder / "data" / "phenotype.csv"
    with changed(table):
        text = table.read_text()
        table.write_text(re.sub(r"^(scan004,.*),2.0$", r"\1,2.5", text, flags=re.M))
        found = planned(folder)
    assert found["timeseries_batch"] == {batch(4)}


@pytest.mark.nightly
def test_an_edited_group_repeats_the_split_and_no_series(folder):
    table = folder / "data" / "phenotype.csv"
    with changed(table):
        text = table.read_text()
        table.write_text(re.sub(r"^(scan004,.*),1,2.0$", r"\1,2,2.0", text, flags=re.M))
        found = planned(folder)
    assert set(found) == {"scans_of_dataset", "pfc_batch", "quality_dataset"}


def test_a_run_after_changes_has_the_new_numbers_and_no_deleted_scan(folder):
    gone, new = folder / "data" / "scan007.1D", folder / "data" / "scan004.1D"
    before = study.contents(folder / "results")
    with changed(gone, new):
        gone.unlink()
        values = np.loadtxt(new, skiprows=1)
        np.savetxt(new, values[::-1] ** 3, "%.6f", "\t")
        done = study.snakemake(folder, "--cores", "2", *TARGETS)
        assert done.returncode == 0, done.stderr[-3000:]
        after = study.contents(folder / "results")
        assert planned(folder) == {}
    study.succeed(folder, *TARGETS)  # as it was, for the other tests
    assert study.contents(folder / "results") == before
    fc = {}
    for name, tables in (("before", before), ("after", after)):
        rows = [
            r
            for k, t in tables.items()
            if "connectivity/ready" in k and "manifest" not in k
            for r in t.select(["scan_id", "fc"]).to_pylist()
        ]
        fc[name] = {r["scan_id"]: r["fc"] for r in rows}
    assert "ready_scan007" in fc["before"]
    for name, table in after.items():
        if "scan_id" in getattr(table, "column_names", []):
            assert "ready_scan007" not in table["scan_id"].to_pylist(), name
    expected = np.corrcoef(values.T**3)[np.triu_indices(values.shape[1], 1)]
    np.testing.assert_allclose(fc["after"].pop("ready_scan004"), expected, atol=1e-5)
    assert all(fc["before"][s] == v for s, v in fc["after"].items())
