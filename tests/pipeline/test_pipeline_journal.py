"""A journal is read up to its last complete record; its rows are those that were written."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmass_core.checksums import ChecksumError
from brainmass_core.pipeline import journal as module
from brainmass_core.pipeline.journal import (
    SYNC_SECONDS,
    Journal,
    from_bytes,
    same_columns,
    schema_of,
    to_bytes,
    whole_records,
)
from brainmass_core.pipeline.manifest import Entry
from brainmass_core.tables import connectivity_schema, pfc_schema, timeseries_schema

SCHEMA = pa.schema([("scan_id", pa.string()), ("bold", pa.list_(pa.list_(pa.float32(), 2)))])


def table(scan_id: str, bold: list[list[float]]) -> pa.Table:
    return pa.Table.from_pylist([{"scan_id": scan_id, "bold": bold}], schema=SCHEMA)


def entry(scan_id: str, status: str = "ok", **over: object) -> Entry:
    return Entry("timeseries", "demo", 0, scan_id, status, **over)


def contents(path: Path) -> dict[str, tuple[Entry, str, pa.Table | None]]:
    """Scans of a journal as another process would find them."""
    one, found = Journal(path), {}
    for scan_id, record in one.records.items():
        rows = from_bytes(one.rows(scan_id)) if record.sha256 is not None else None
        found[scan_id] = record.entry, record.made_from, rows
    return found


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two scans with rows and one without."""
    path = tmp_path / "0-of-1.journal"
    one = Journal(path)
    one.append(entry("a"), "from-a", to_bytes(table("a", [[1.0, 2.0]])))
    one.append(entry("b", "excluded", reason="motion"), "from-b", None)
    one.append(entry("c"), "from-c", to_bytes(table("c", [[3.0, np.nan]])))
    one.close()
    return path


numbers = st.floats(width=32)
scans = st.lists(
    st.tuples(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
        st.sampled_from(["ok", "failed", "excluded"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.lists(st.lists(numbers, min_size=2, max_size=2), max_size=4),
        st.floats(0, 1e4),
    ),
    max_size=6,
)


@given(scans)
@settings(max_examples=40)
def test_reading_is_the_inverse_of_appending_and_the_last_record_of_a_scan_counts(
    tmp_path_factory: pytest.TempPathFactory, given_scans: list
) -> None:
    path = tmp_path_factory.mktemp("journal") / "x.journal"
    expected = {}
    one = Journal(path)
    for scan_id, status, reason, bold, seconds in given_scans:
        rows = table(scan_id, bold) if status == "ok" else None
        measured = {"mean_fd": 0.5, "pairs": [1, 2]} if status == "excluded" else {}
        what = entry(scan_id, status, reason=reason, seconds=seconds, measured=measured)
        one.append(what, reason, None if rows is None else to_bytes(rows))
        expected[scan_id] = what, reason, rows
    found = contents(path)  # while it is still open for writing
    one.close()
    assert found.keys() == expected.keys()
    for scan_id, (what, made_from, rows) in expected.items():
        assert found[scan_id][:2] == (what, made_from)
        if rows is None:
            assert found[scan_id][2] is None
        else:
            assert to_bytes(found[scan_id][2]) == to_bytes(rows)  # NaN included


def test_a_journal_cut_at_any_byte_holds_a_prefix_of_its_records(small: Path, caplog) -> None:
    content = small.read_bytes()
    with open(small, "rb") as file:
        ends = [record.end for record in whole_records(file)]
    assert ends[-1] == len(content)
    assert len(ends) == 3
    for size in range(len(content) + 1):
        small.write_bytes(content[:size])
        n = sum(end <= size for end in ends)
        assert list(contents(small)) == ["a", "b", "c"][:n], size
        assert small.stat().st_size == ([0, *ends][n]), "the incomplete end is removed"
    assert "0-of-1.journal: the last" in caplog.text


def test_scans_are_appended_after_an_incomplete_end(small: Path) -> None:
    small.write_bytes(small.read_bytes()[:-1])
    one = Journal(small)
    one.append(entry("d"), "from-d", to_bytes(table("d", [[5.0, 6.0]])))
    one.close()
    found = contents(small)
    assert list(found) == ["a", "b", "d"]
    assert found["d"][2].equals(table("d", [[5.0, 6.0]]))


def test_a_changed_bit_never_gives_other_rows(small: Path) -> None:
    content, sound = small.read_bytes(), contents(small)
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        small.write_bytes(changed)
        one, missing = Journal(small), set(sound)
        for scan_id, record in one.records.items():
            assert (record.entry, record.made_from) == sound[scan_id][:2]
            if record.sha256 is None:
                missing.discard(scan_id)
                continue
            try:
                assert one.rows(scan_id) == to_bytes(sound[scan_id][2])
            except ChecksumError:
                continue
            missing.discard(scan_id)
        assert missing, f"a changed bit of byte {at} was not noticed"


def test_damaged_rows_cost_their_own_scan_and_a_damaged_header_all_later_ones(small: Path) -> None:
    content = small.read_bytes()
    with open(small, "rb") as file:
        first = next(whole_records(file))
    in_rows, in_header = bytearray(content), bytearray(content)
    in_rows[first.offset + first.size // 2] ^= 1
    in_header[3] ^= 1
    small.write_bytes(in_rows)
    one = Journal(small)
    with pytest.raises(ChecksumError, match=r"0-of-1\.journal: the rows of a are damaged"):
        one.rows("a")
    assert from_bytes(one.rows("c")).num_rows == 1
    small.write_bytes(in_header)
    assert contents(small) == {}
    assert small.stat().st_size == 0


def test_it_is_synced_at_a_long_scan_and_after_some_seconds(tmp_path, monkeypatch) -> None:
    now, synced = [100.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.os, "fsync", lambda fd: synced.append(now[0]))
    one = Journal(tmp_path / "x.journal")
    one.append(entry("a", seconds=0.1), "", None)
    assert len(synced) == 1, "the folder of the new file"
    now[0] += SYNC_SECONDS / 2
    one.append(entry("b", seconds=0.1), "", None)
    assert len(synced) == 1
    now[0] += SYNC_SECONDS / 2
    one.append(entry("c", seconds=0.1), "", None)
    assert len(synced) == 2
    one.append(entry("d", seconds=SYNC_SECONDS), "", None)
    assert len(synced) == 3
    one.append(entry("e", seconds=0.1), "", None)
    one.close()
    assert len(synced) == 4
    one.close()
    assert len(synced) == 4, "nothing was written since"


def test_a_full_disk_leaves_the_records_before(small: Path, monkeypatch) -> None:
    one, before = Journal(small), small.read_bytes()
    write = os.pwrite

    def half(fd: int, data: bytes, at: int) -> int:
        if at > len(before):
            raise OSError(28, "No space left on device")
        return write(fd, data[: len(data) // 2], at)

    monkeypatch.setattr(module.os, "pwrite", half)
    with pytest.raises(OSError, match=r"No space left.*0-of-1\.journal"):
        one.append(entry("d"), "from-d", to_bytes(table("d", [[5.0, 6.0]])))
    assert small.read_bytes() == before
    assert list(one.records) == ["a", "b", "c"]
    one.close()


def test_a_slice_of_a_table_is_stored_without_its_surroundings() -> None:
    many = pa.concat_tables([table(str(i), [[float(i), 0.0]] * 100) for i in range(50)])
    one = to_bytes(many.combine_chunks().slice(7, 1))
    assert from_bytes(one).equals(table("7", [[7.0, 0.0]] * 100))
    assert len(one) < 4000


@pytest.mark.parametrize("schema", [connectivity_schema(5), timeseries_schema(5), pfc_schema(5)])
def test_rows_that_a_worker_wrote_have_the_columns_of_their_table(schema: pa.Schema) -> None:
    """A schema loses names and nullability of list elements on its way to a worker."""
    of_worker = pickle.loads(pickle.dumps(schema))
    written = schema_of(to_bytes(of_worker.empty_table()))
    assert same_columns(written, schema)
    assert same_columns(schema, schema)


@pytest.mark.parametrize(
    "other",
    [
        connectivity_schema(6),
        timeseries_schema(5),
        connectivity_schema(5).set(0, pa.field("scan", pa.string())),
        connectivity_schema(5).set(2, pa.field("n_timepoints", pa.int32())),
        connectivity_schema(5).set(3, pa.field("fc", pa.list_(pa.float64(), 10))),
    ],
)
def test_rows_of_another_table_do_not(other: pa.Schema) -> None:
    assert not same_columns(other, connectivity_schema(5))
