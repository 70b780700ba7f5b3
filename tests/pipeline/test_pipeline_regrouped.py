"""Finished scans are only regrouped if batches are dealt in another way, grow, or run again."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from batch_processes import SCHEMA, called, items, job, process

from brainmass_core.checksums import sealed
from brainmass_core.config import Config, parse_config
from brainmass_core.pipeline import published
from brainmass_core.pipeline.batch import IN_LINE, BatchError, run_batch
from brainmass_core.pipeline.hashing import batch_of, may_share
from brainmass_core.pipeline.journal import Journal
from brainmass_core.pipeline.kept import Job, journal_name, work_folder
from brainmass_core.pipeline.manifest import read_manifest
from brainmass_core.pipeline.retry import forget_failures
from brainmass_core.tables import read_table

STAGE = "timeseries"
BARE = pa.schema([("scan_id", pa.string()), ("value", pa.float64())])  # as of FC: no status


@pytest.fixture(autouse=True)
def in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_LINE, "1")


def bare(item: dict) -> pa.Table:
    return process(item).select(BARE.names)


def dealt(results: Path, batches: int, **over: object) -> Job:
    """Batch 0 of a data set with this many batches."""
    one = job(results, stage=STAGE, **over)
    section = one.config.datasets["demo"].model_copy(update={"batches": batches})
    return replace(one, config=one.config.model_copy(update={"datasets": {"demo": section}}))


def run_all(first: Job, work: dict[str, dict], only: set[int] | None = None) -> None:
    """Run batches, all by default, as Snakemake does: their outputs are removed before."""
    batches = first.config.datasets["demo"].batches
    for batch in range(batches) if only is None else sorted(only):
        one = replace(first, batch=batch)
        one.table.unlink(missing_ok=True)
        one.manifest.unlink(missing_ok=True)
        part = {s: v for s, v in work.items() if batch_of("demo", s, batches) == batch}
        run_batch(one, part, process if "status" in first.schema.names else bare)


def comparable(first: Job) -> list:
    """The bytes of all tables, and manifests without measurements."""
    found: list = []
    for batch in range(first.config.datasets["demo"].batches):
        one = replace(first, batch=batch)
        entries = [
            replace(e, seconds=0, peak_rss_mb=0, log="") for e in read_manifest(one.manifest)
        ]
        found.append((one.table.read_bytes(), entries))
    return found


def left(results: Path) -> set[str]:
    """Names of the work files, without checksums."""
    files = [f for f in (results / "work").rglob("*") if f.is_file()]
    return {f.name if f.suffix != ".parquet" else f"{f.name.split('.')[0]}.parquet" for f in files}


def of_deals(*batches: int) -> set[str]:
    ends = ("json", "parquet")
    return {f"{b}-of-{n}.{end}" for n in batches for b in range(n) for end in ends}


@pytest.mark.parametrize("schema", [SCHEMA, BARE], ids=["with status", "without"])
@pytest.mark.parametrize(("before", "after"), [(3, 5), (2, 4), (4, 2)])
def test_another_deal_computes_nothing_and_equals_a_fresh_run(
    tmp_path: Path, monkeypatch, schema: pa.Schema, before: int, after: int
) -> None:
    work = items(20, tmp_path / "calls", scan_3="excluded", scan_11="excluded")
    first = dealt(tmp_path / "r", before, schema=schema)
    run_all(first, work)
    assert called(tmp_path / "calls") == sorted(work)
    opened = []

    def counted(path: Path, *rest: object) -> pa.Table:
        opened.append(path)
        return read_table(path, *rest)

    monkeypatch.setattr(published, "read_table", counted)
    again = dealt(tmp_path / "r", after, schema=schema)
    for batch in range(after):
        assert len(left(tmp_path / "r")) == 2 * (before + batch)
        run_all(again, work, {batch})
        assert len(opened) == len(set(opened)) <= before
        assert batch or opened
        opened.clear()
    assert called(tmp_path / "calls") == sorted(work), "no scan was computed again"
    assert left(tmp_path / "r") == of_deals(after)
    fresh = dealt(tmp_path / "fresh", after, schema=schema)
    run_all(fresh, work)
    assert comparable(again) == comparable(fresh)


def test_one_more_participant_computes_one_scan(tmp_path: Path) -> None:
    first, work = dealt(tmp_path / "r", 3), items(12, tmp_path / "calls")
    old = {s: v for s, v in work.items() if s != "scan-7"}
    run_all(first, old)
    run_all(first, work, {batch_of("demo", "scan-7", 3)})
    assert called(tmp_path / "calls") == sorted(work)
    fresh = dealt(tmp_path / "fresh", 3)
    run_all(fresh, work)
    assert comparable(first) == comparable(fresh)
    assert left(tmp_path / "r") == of_deals(3)


def test_another_version_of_the_package_takes_over_nothing(tmp_path: Path, monkeypatch) -> None:
    first, work = dealt(tmp_path / "r", 2), items(6, tmp_path / "calls")
    run_all(first, work)
    monkeypatch.setattr("brainmass_core.pipeline.kept.__version__", "99.0")
    run_all(first, work)
    assert called(tmp_path / "calls") == sorted([*work, *work])
    assert left(tmp_path / "r") == of_deals(2), "what the earlier version left is removed"


def test_retry_computes_the_failed_scans_alone(tmp_path: Path) -> None:
    kinds = {"scan_1": "sound-now", "scan_4": "failed", "scan_5": "excluded"}
    first, work = dealt(tmp_path / "r", 2), items(12, tmp_path / "calls", **kinds)
    run_all(first, work)
    (tmp_path / "mended").touch()
    gone = forget_failures(first.paths)
    assert gone
    run_all(first, work, {int(table.stem) for table in gone})
    assert called(tmp_path / "calls") == sorted([*work, "scan-1", "scan-4"])
    statuses = {
        e.scan_id: e.status for b in (0, 1) for e in read_manifest(replace(first, batch=b).manifest)
    }
    expected = dict.fromkeys(work, "ok") | {"scan-4": "failed", "scan-5": "excluded"}
    assert statuses == expected


def test_failed_scans_are_computed_in_another_deal_and_changed_ones_too(tmp_path: Path) -> None:
    work = items(10, tmp_path / "calls", scan_1="failed", scan_2="excluded")
    run_all(dealt(tmp_path / "r", 2), work)
    work["scan-6"] = work["scan-6"] | {"value": 99.0}
    again = dealt(tmp_path / "r", 3)
    run_all(again, work)
    assert called(tmp_path / "calls") == sorted([*work, "scan-1", "scan-6"])
    tables = [read_table(replace(again, batch=b).table, STAGE) for b in range(3)]
    rows = {r["scan_id"]: r for t in tables for r in t.to_pylist()}
    assert rows["scan-6"]["value"] == 99.0
    assert rows["scan-2"]["status"] == "excluded"


def test_other_settings_take_nothing_over_and_remove_what_was_kept(tmp_path: Path) -> None:
    work, first = items(4, tmp_path / "calls"), dealt(tmp_path / "r", 2)
    run_all(first, work)
    section = first.config.timeseries.model_copy(update={"low_hz": 0.02})
    other = replace(first, config=first.config.model_copy(update={"timeseries": section}))
    run_all(other, work, {0})
    assert [p.name for p in (tmp_path / "r" / "work" / STAGE / "demo").iterdir()] == [
        other.work.name
    ]
    run_all(other, work, {1})
    assert called(tmp_path / "calls") == sorted([*work, *work])


def _bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


HARM = {
    "a bit": _bit,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "of another version": lambda path: path.write_text(json.dumps(sealed({"x": 1}))),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("suffix", ["json", "parquet"])
def test_damaged_files_are_not_taken_over(tmp_path: Path, harm: str, suffix: str) -> None:
    work = items(6, tmp_path / "calls", scan_2="excluded")
    first = dealt(tmp_path / "r", 1)
    run_all(first, work)
    expected = comparable(first)
    (file,) = first.work.glob(f"*.{suffix}")
    first.table.unlink()  # it is the same file
    HARM[harm](file)
    run_all(first, work)
    assert comparable(first) == expected
    assert len(called(tmp_path / "calls")) >= 11
    assert left(tmp_path / "r") == of_deals(1)


def test_a_table_with_other_columns_is_not_taken_over(tmp_path: Path) -> None:
    work = items(3, tmp_path / "calls")
    run_all(dealt(tmp_path / "r", 1), work)
    run_all(dealt(tmp_path / "r", 1, schema=BARE), work)
    assert called(tmp_path / "calls") == sorted([*work, *work])


def test_without_hard_links_scans_are_computed_again(tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(published.os, "link", refuse)
    work, first = items(4, tmp_path / "calls"), dealt(tmp_path / "r", 1)
    run_all(first, work)
    assert left(tmp_path / "r") == set()
    run_all(first, work)
    assert called(tmp_path / "calls") == sorted([*work, *work])


# --- killed jobs ----------------------------------------------------------------------------------


def interrupt(monkeypatch: pytest.MonkeyPatch, where: object, name: str, n: int) -> None:
    """Let the n-th call of a function end the job, before the function does anything."""
    function, left_over = getattr(where, name), [n]

    def stop(*arguments: object, **named: object) -> object:
        left_over[0] -= 1
        if left_over[0] == 0:
            raise KeyboardInterrupt
        return function(*arguments, **named)

    monkeypatch.setattr(where, name, stop)


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize(
    ("where", "name"),
    [(os, "link"), (Path, "replace"), (Path, "unlink"), (os, "fsync"), (os, "close")],
)
def test_a_job_that_is_killed_while_it_publishes_repeats_no_scan(
    tmp_path: Path, where: object, name: str, n: int
) -> None:
    work = items(8, tmp_path / "calls", scan_2="excluded")
    first = dealt(tmp_path / "r", 1)
    run_all(first, {s: v for s, v in work.items() if s != "scan-5"})
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, where, name, n)
        with suppress(KeyboardInterrupt):
            run_all(first, work)  # one scan is new, and a new table replaces the old one
    run_all(first, work)
    # it may be killed while it records the scan, before anything is published
    recording = name in ("fsync", "close")
    assert called(tmp_path / "calls").count("scan-5") <= 1 + recording
    others = [s for s in called(tmp_path / "calls") if s != "scan-5"]
    assert others == sorted(set(work) - {"scan-5"}), "finished scans were computed again"
    assert left(tmp_path / "r") == of_deals(1)
    assert not list((tmp_path / "r").rglob("*.tmp"))
    fresh = dealt(tmp_path / "fresh", 1)
    run_all(fresh, work)
    assert comparable(first) == comparable(fresh)


@pytest.mark.parametrize("batches", [1, 2])
def test_a_stopped_batch_leaves_its_journal_alone_and_any_deal_resumes_it(
    tmp_path: Path, batches: int
) -> None:
    kinds = {"scan_3": "excluded", "scan_5": "sound-now", "scan_9": "full"}
    work = items(10, tmp_path / "calls", **kinds)
    first = dealt(tmp_path / "r", 1)
    with pytest.raises(BatchError, match="No space left"):
        run_all(first, work)
    assert left(tmp_path / "r") == {"0-of-1.journal"}
    work["scan-9"] = work["scan-9"] | {"kind": "ok"}
    (tmp_path / "mended").touch()
    again = dealt(tmp_path / "r", batches)
    run_all(again, work)
    assert called(tmp_path / "calls") == sorted([*work, "scan-5", "scan-9"])
    assert left(tmp_path / "r") == of_deals(batches)
    fresh = dealt(tmp_path / "fresh", batches)
    run_all(fresh, work)
    assert comparable(again) == comparable(fresh)


def test_a_running_job_has_at_most_three_work_files_and_a_finished_one_two(tmp_path: Path) -> None:
    first, work = dealt(tmp_path / "r", 1), items(5, tmp_path / "calls")
    seen = []

    def looking(item: dict) -> pa.Table:
        seen.append(left(tmp_path / "r"))
        return process(item)

    run_batch(first, work, looking)
    assert seen[0] == {"0.lock"}
    assert seen[-1] == {"0.lock", "0-of-1.journal"}
    assert left(tmp_path / "r") == of_deals(1)


def test_what_an_older_version_kept_is_removed(tmp_path: Path) -> None:
    first = dealt(tmp_path / "r", 2)
    old = tmp_path / "r" / "work" / STAGE / "demo" / "1" / "0123456789ab"
    old.mkdir(parents=True)
    for kind in ("json", "item", "parquet"):
        (old / f"scan-0.{kind}").touch()
    run_all(first, items(4, tmp_path / "calls"), {0})
    assert left(tmp_path / "r") == {"0-of-2.json", "0-of-2.parquet"}


def test_rows_that_are_damaged_while_the_batch_runs_are_not_published(tmp_path: Path) -> None:
    first, work = dealt(tmp_path / "r", 1), items(3, tmp_path / "calls")
    path = first.work / journal_name(0, 1)

    def damaging(item: dict) -> pa.Table:
        if item["scan_id"] == "scan-2":
            record = Journal(path).records["scan-1"]
            with open(path, "r+b") as file:
                file.seek(record.offset + record.size // 2)
                file.write(b"\xff\xfe\xfd")
        return process(item)

    with pytest.raises(BatchError, match=r"journal: the rows of scan-1 are damaged.*same command"):
        run_batch(first, work, damaging)
    assert not first.table.exists()
    run_batch(first, work, process)
    assert called(tmp_path / "calls") == sorted([*work, "scan-1"])


# --- which settings count -------------------------------------------------------------------------


@given(st.text(), st.integers(1, 200), st.integers(1, 200))
def test_a_participant_is_looked_for_in_every_batch_that_it_was_in(who, before, after) -> None:
    other = batch_of("d", who, before), before
    assert may_share(batch_of("d", who, after), after, *other)


def folders(config: Config) -> dict[str, Path]:
    stages = ("preprocess", "timeseries", "connectivity", "pfc")
    return {stage: work_folder(config, stage, "d") for stage in stages}


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"datasets": {"d": {"batches": 8}}}, ""),
        ({"datasets": {"d": {"role": "pretrain", "evaluation_fraction": 0.3}}}, ""),
        ({"datasets": {"d": {"stratify_by": "dx"}}}, ""),
        ({"datasets": {"d": {"phenotype": {"age_column": "years"}}}}, ""),
        ({"max_failed_fraction": 0.9}, ""),
        ({"seed": 7}, "pfc"),
        ({"pfc": {"n_views": 7}}, "pfc"),
        ({"connectivity": {"estimator": "ledoit_wolf"}}, "connectivity"),
        ({"connectivity": {"unit": "session"}}, "connectivity pfc"),
        ({"timeseries": {"low_hz": 0.02}}, "timeseries connectivity pfc"),
        ({"atlas": {"n_rois": 200}}, "timeseries connectivity pfc"),
        ({"datasets": {"d": {"t_r": 1.5}}}, "preprocess timeseries connectivity pfc"),
        ({"preprocess": {"resolution": 4.0}}, "preprocess timeseries connectivity pfc"),
    ],
    ids=str,
)
def test_only_settings_that_a_scan_depends_on_change_where_it_is_kept(
    tmp_path: Path, change: dict, changed: str
) -> None:
    def config(over: dict) -> Config:
        dataset = {"kind": "bids", "role": "internal", "path": str(tmp_path)}
        dataset |= over.get("datasets", {}).get("d", {})
        return parse_config({**over, "results": str(tmp_path / "r"), "datasets": {"d": dataset}})

    before, after = folders(config({})), folders(config(change))
    assert {s for s in before if before[s] != after[s]} == set(changed.split())


def test_results_without_their_work_folder_are_complete(tmp_path: Path) -> None:
    first, work = dealt(tmp_path / "r", 2), items(6, tmp_path / "calls")
    run_all(first, work)
    expected = comparable(first)
    shutil.rmtree(tmp_path / "r" / "work")
    assert comparable(first) == expected
    run_all(first, work)
    assert comparable(first) == expected
