"""A table is published completely or not at all, and read only as the table that it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.tables import (
    SCANS,
    TableError,
    atomic_path,
    config_hash_of,
    connectivity_schema,
    files,
    from_rows,
    n_edges,
    pfc_schema,
    read_table,
    remove_abandoned,
    timeseries_schema,
    write_table,
)

ROWS = [{"scan_id": "a", "t_r": 2.0, "slice_timing": [0.0, 1.0]}, {"scan_id": "b", "site": "ö"}]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "scans" / "demo.parquet"
    write_table(path, from_rows(ROWS, SCANS), "scans", "abc123")
    return path


def test_reading_is_the_inverse_of_writing(published: Path) -> None:
    assert read_table(published, "scans").equals(from_rows(ROWS, SCANS))
    assert config_hash_of(published) == "abc123"


def test_the_same_rows_make_the_same_bytes(published: Path) -> None:
    again = published.with_name("again.parquet")
    write_table(again, from_rows(ROWS, SCANS), "scans", "abc123")
    assert again.read_bytes() == published.read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(published: Path) -> None:
    def write_half() -> None:
        with atomic_path(published) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    before = published.read_bytes()
    with pytest.raises(RuntimeError):
        write_half()
    assert published.read_bytes() == before
    assert os.listdir(published.parent) == [published.name]


def test_a_failed_first_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_table(tmp_path / "x.parquet", from_rows(ROWS, SCANS), "scans", no_such_option=1)
    assert os.listdir(tmp_path) == []


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x.parquet") as temporary:
        temporary.write_text("half")
        assert list(tmp_path.glob("*.parquet")) == []
    assert (tmp_path / "x.parquet").read_text() == "half"


def test_a_published_file_has_the_rights_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_table(tmp_path / "x.parquet", from_rows(ROWS, SCANS), "scans")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.parquet").stat().st_mode) == 0o640


def test_a_missing_table_names_the_target(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"no such table; run: snakemake --cores all pretrain"):
        read_table(tmp_path / "history.parquet", "history")


@pytest.mark.parametrize("damage", [b"", b"not parquet", None])
def test_a_damaged_table_says_what_makes_it_anew(published: Path, damage: bytes | None) -> None:
    whole = published.read_bytes()
    published.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.raises(TableError, match=r"demo\.parquet: damaged.*snakemake --cores all scans"):
        read_table(published, "scans")


def test_another_table_is_refused(published: Path) -> None:
    with pytest.raises(TableError, match="found 'scans' version 1, expected 'manifest'"):
        read_table(published, "manifest")


def test_another_version_is_refused(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "VERSION", 2)
    with pytest.raises(TableError, match=r"version 1, expected 'scans' version 2; remove it"):
        read_table(published, "scans")


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(TableError, match="no brainmass table"):
        read_table(tmp_path / "x.parquet", "scans")


def test_a_missing_column_is_named(published: Path) -> None:
    assert read_table(published, "scans", ["scan_id"]).column_names == ["scan_id"]
    with pytest.raises(TableError, match=r"columns \['pheno_dx'\] are missing"):
        read_table(published, "scans", ["scan_id", "pheno_dx"])


def test_a_key_outside_the_schema_is_our_bug() -> None:
    with pytest.raises(KeyError, match="scanid"):
        from_rows([{"scanid": "a"}], SCANS)


def test_folder_names_with_an_equals_sign_are_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "atlas=cc200" / "x.parquet"
    write_table(path, from_rows(ROWS, SCANS), "scans")
    assert read_table(path, "scans").column_names == SCANS.names


# --- schemas of arrays ----------------------------------------------------------------------------


@given(st.integers(2, 12), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_time_series_keep_their_values_and_shape(n_rois: int, n_time: int, seed: int) -> None:
    bold = np.random.default_rng(seed).standard_normal((n_time, n_rois)).astype("f4")
    table = from_rows([{"scan_id": "a", "bold": bold.tolist()}], timeseries_schema(n_rois))
    back = np.asarray(table["bold"][0].as_py(), "f4").reshape(-1, n_rois)
    np.testing.assert_array_equal(back, bold)


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_fc_and_pseudo_fc_keep_their_bits(n_rois: int, seed: int) -> None:
    fc = np.random.default_rng(seed).uniform(-1, 1, n_edges(n_rois)).astype("f4")
    assert len(fc) == len(np.triu_indices(n_rois, 1)[0])
    stored = from_rows([{"scan_id": "a", "fc": fc.tolist()}], connectivity_schema(n_rois))
    np.testing.assert_array_equal(stored["fc"][0].as_py(), fc)
    half = fc.astype("<f2")
    stored = from_rows([{"scan_id": "a", "view": 0, "fc": half.tobytes()}], pfc_schema(n_rois))
    np.testing.assert_array_equal(np.frombuffer(stored["fc"][0].as_py(), "<f2"), half)


def test_metadata_of_the_schema_survive(tmp_path: Path) -> None:
    write_table(tmp_path / "x.parquet", pfc_schema(5).empty_table(), "pfc", "h")
    metadata = read_table(tmp_path / "x.parquet", "pfc").schema.metadata
    assert metadata[b"n_rois"] == b"5"
    assert metadata[b"brainmass_config_hash"] == b"h"


NOBODY = 2**22 + 1  # above the largest number that Linux gives to a process


def test_temporary_files_of_killed_processes_are_removed_and_no_others(tmp_path):
    folder = tmp_path / "derivatives" / "sub-01"
    with atomic_path(folder / "a.tsv") as ours:
        abandoned = ours.with_name(ours.name.replace(f"-{os.getpid()}.", f"-{NOBODY}."))
        assert abandoned != ours
        abandoned.touch()
        elsewhere = folder / f".a.tsv.x1.00000000-{NOBODY}.tmp"
        elsewhere.touch()
        others = [folder / ".note.tmp", folder / f"a.tsv.00000000-{NOBODY}.tmp"]
        for file in others:
            file.touch()
        remove_abandoned(tmp_path)
        assert not abandoned.exists()
        assert all(file.exists() for file in (ours, elsewhere, *others))
    assert (folder / "a.tsv").exists()
