"""Read tables that may not fit into memory in pieces: FC, series, predictions of all methods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from brainmass_core.tables import PREDICTIONS, read_table

PREDICTION_COLUMNS = [
    *("method", "repeat", "fold", "scan_id", "dataset", "participant_id"),
    *("site", "y_true", "y_score", "y_pred"),
]


def stream(path: Path, name: str, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Iterate over pieces of a table with at most `rows` rows.

    Raises
    ------
    TableError
        If the table is missing, damaged or of another version.
    """
    read_table(path, name, columns=[])  # checks name and version
    with open(path, "rb") as file:
        reader = pq.ParquetFile(file, page_checksum_verification=True)
        yield from reader.iter_batches(batch_size=rows, columns=columns)


def read_predictions(path: Path, methods: Iterable[str]) -> pd.DataFrame:
    """Rows of `tables.PREDICTIONS` of these methods, without the scores of single classes.

    Text columns are categorical, because each scan has a row for every method and repeat.

    Raises
    ------
    TableError
        If the table is missing, damaged or of another version.
    """
    wanted = pa.array(list(methods), pa.string())
    schema = pa.schema([PREDICTIONS.field(c) for c in PREDICTION_COLUMNS])
    kept = [_encoded(schema.empty_table())]
    for batch in stream(path, "predictions", PREDICTION_COLUMNS, 200_000):
        rows = pa.Table.from_batches([batch]).filter(pc.is_in(batch["method"], wanted))
        kept.append(_encoded(rows.replace_schema_metadata(None)))
    return pa.concat_tables(kept).unify_dictionaries().to_pandas()


def tested_scans(path: Path) -> set[str]:
    """scan_id of every scan on which any method was tested."""
    found: set[str] = set()
    for batch in stream(path, "predictions", ["scan_id"], 500_000):
        found.update(batch["scan_id"].unique().to_pylist())
    return found


def _encoded(table: pa.Table) -> pa.Table:
    for i, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(i, field.name, table[field.name].dictionary_encode())
    return table
