"""A scan whose files change is worked on again, also when they change under its hands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from batch_processes import SCHEMA, items, job

from brainmass_core.pipeline.batch import run_batch
from brainmass_core.pipeline.scan_fingerprint import fingerprint, named_files
from brainmass_core.scans import of_images
from brainmass_core.tables import SCANS, read_table


def of_files(folder: Path, n: int = 3) -> dict[str, dict]:
    work = items(n, folder / "calls")
    for name, item in work.items():
        item["bold_path"] = str(folder / f"{name}.nii")
        Path(item["bold_path"]).write_text(name)
    return work


def worked_on(folder: Path) -> list[str]:
    lines = (folder / "calls").read_text().split()
    (folder / "calls").unlink()
    return sorted(lines)


def row(item: dict) -> pa.Table:
    with open(Path(item["folder"]) / item["calls"], "a") as file:
        file.write(f"{item['scan_id']}\n")
    value = float(len(Path(item["bold_path"]).read_text()))
    columns = {"scan_id": item["scan_id"], "status": "ok", "value": value}
    return pa.Table.from_pylist([columns], schema=SCHEMA)


def test_a_batch_that_runs_again_works_on_the_changed_scan_alone(tmp_path):
    work = of_files(tmp_path)
    run_batch(job(tmp_path / "r"), work, row)
    assert worked_on(tmp_path) == sorted(work)
    os.utime(work["scan-1"]["bold_path"], ns=(1, 1))
    run_batch(job(tmp_path / "r"), work, row)
    assert worked_on(tmp_path) == ["scan-1"]


def test_a_deleted_scan_leaves_the_table(tmp_path):
    work = of_files(tmp_path)
    run_batch(job(tmp_path / "r"), work, row)
    del work["scan-1"]
    run_batch(job(tmp_path / "r"), work, row)
    table = read_table(job(tmp_path / "r").paths.batch("preprocess", "demo", 0), "preprocess")
    assert table["scan_id"].to_pylist() == ["scan-0", "scan-2"]


@pytest.mark.parametrize("how", ["rewritten", "deleted"])
def test_a_file_that_changes_while_it_is_read_fails_its_scan_which_is_then_made_again(
    tmp_path, how
):
    work = of_files(tmp_path)
    path = Path(work["scan-1"]["bold_path"])

    def disturbed(item):
        made = row(item)
        if item["scan_id"] == "scan-1":
            path.write_text("of another size") if how == "rewritten" else path.unlink()
        return made

    entries = {e.scan_id: e for e in run_batch(job(tmp_path / "r"), work, disturbed)}
    assert [entries[s].status for s in sorted(work)] == ["ok", "failed", "ok"]
    assert entries["scan-1"].reason == f"{path}: changed while the scan was worked on"
    assert "run the same command" in entries["scan-1"].remedy
    worked_on(tmp_path)
    path.write_text("of another size")
    entries = run_batch(job(tmp_path / "r"), work, row)
    assert worked_on(tmp_path) == ["scan-1"]
    assert {e.status for e in entries} == {"ok"}


def test_the_names_of_an_atlas_are_part_of_what_a_scan_is_made_from():
    labels = pd.DataFrame({"index": [1, 2], "name": ["a", "b"]})
    same = fingerprint({"labels": labels})
    assert fingerprint({"labels": labels.copy()}) == same
    assert fingerprint({"labels": labels.assign(name=["b", "a"])}) != same


def test_every_file_that_an_item_names_is_looked_at(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    found = named_files({"a": str(one), "b": [(two,)], "c": "two", "d": 1})
    assert set(found) == {str(one), str(two)}


def test_who_a_person_is_does_not_make_a_kept_scan_look_old():
    row = dict.fromkeys(SCANS.names) | {"kind": "bids", "bold_path": "/d/b.nii", "pheno_iq": "1"}
    other = row | {"age": 30.0, "site": "A", "split": "test", "batch": 3, "pheno_iq": "2"}
    assert of_images(row) == of_images(other | {"mean_fd": 0.1})
    assert of_images(row) != of_images(row | {"t_r": 2.0})
    ready = row | {"kind": "timeseries"}
    assert of_images(ready) != of_images(ready | {"mean_fd": 0.1})
