"""A damaged table is refused, or read as it was written."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brainmass_core.tables import TableError, config_hash_of, read_table, write_table


@pytest.fixture
def path(tmp_path):
    values = np.random.default_rng(0).standard_normal(30)
    table = pa.table({"scan_id": [f"s{i}" for i in range(30)], "v": values})
    table = table.replace_schema_metadata({"n_rois": "100"})
    write_table(tmp_path / "x.parquet", table, "scans", "abc123")
    return tmp_path / "x.parquet"


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(path):
    whole, table = path.read_bytes(), read_table(path, "scans")
    refused = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        try:
            found = read_table(path, "scans")
        except TableError:
            refused += 1
        else:
            assert found.equals(table), at
            assert found.schema.metadata == table.schema.metadata, at
    assert refused > len(whole) / 2


def test_a_file_cut_anywhere_is_refused(path):
    whole = path.read_bytes()
    for i in range(16):
        path.write_bytes(whole[: i * len(whole) // 16])
        with pytest.raises(TableError, match="damaged Parquet file"):
            read_table(path, "scans")
        with pytest.raises(TableError, match=r"x\.parquet: damaged Parquet file .*; remove it"):
            config_hash_of(path)


def test_a_folder_in_place_of_a_table_is_refused(path):
    path.unlink()
    os.mkdir(path)
    with pytest.raises(TableError, match="damaged Parquet file"):
        read_table(path, "scans")


def test_a_file_of_pyarrow_itself_is_no_table_of_ours(tmp_path):
    pq.write_table(pa.table({"scan_id": ["a"]}), tmp_path / "x.parquet", store_schema=False)
    with pytest.raises(TableError, match="found 'no brainmass table'"):
        read_table(tmp_path / "x.parquet", "scans")
