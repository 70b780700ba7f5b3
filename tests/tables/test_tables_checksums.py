"""A flipped bit on the disk does not change a number unnoticed."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from brainmass_core.tables import (
    TableError,
    connectivity_schema,
    from_rows,
    n_edges,
    read_table,
    write_table,
)


def test_a_flipped_bit_in_the_values_is_found_though_the_file_can_be_parsed(tmp_path):
    path = tmp_path / "fc.parquet"
    rng = np.random.default_rng(0)
    rows = [
        {
            "scan_id": f"s{i}",
            "estimator": "pearson",
            "n_timepoints": 9,
            "fc": rng.random(n_edges(12), np.float32).tolist(),
        }
        for i in range(20)
    ]
    # without compression only the checksum can detect it
    options = {"compression": "none", "use_dictionary": False}
    write_table(path, from_rows(rows, connectivity_schema(12)), "connectivity", **options)
    chunk = pq.read_metadata(path).row_group(0)
    places = [chunk.column(i) for i in range(chunk.num_columns)]
    fc = next(c for c in places if c.path_in_schema.startswith("fc"))
    data = bytearray(path.read_bytes())
    data[fc.data_page_offset + fc.total_compressed_size - 5] ^= 1
    path.write_bytes(data)
    assert pq.ParquetFile(path).read().num_rows == 20, "pyarrow alone reads it"
    with pytest.raises(TableError, match="damaged Parquet file"):
        read_table(path, "connectivity")
