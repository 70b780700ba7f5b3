"""The scans table: unique ids, writing, and reading several data sets at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import OF_PEOPLE, SCANS, read_table, write_table

PHENO = "pheno_"
UNMATCHED = b"brainmass_unmatched"


class ScansError(ValueError):
    """A data set that cannot be listed; the message names file, finding and remedy."""


@dataclass(frozen=True)
class Unmatched:
    """Participants that are in the phenotype table or among the scans, but not in both.

    Attributes
    ----------
    phenotype_path : str
        The table; empty if there is none.
    table_only, scans_only : list of str
        Their ids as written in the table, and as named by the scans. Sorted.
    """

    phenotype_path: str = ""
    table_only: list[str] = field(default_factory=list)
    scans_only: list[str] = field(default_factory=list)


def check_unique(tables: Mapping[str, pa.Table]) -> None:
    """Refuse scan ids that occur in two data sets.

    Parameters
    ----------
    tables : mapping
        Name of the data set to its scans table.

    Raises
    ------
    ScansError
        With the ids, the data sets and the files. This occurs if the name of one data set begins
        with that of another: ``a`` with ``b_sub-01`` and ``a_b`` with ``sub-01``.
    """
    parts = [
        t.select(["scan_id", "bold_path"]).to_pandas().assign(name=name)
        for name, t in tables.items()
    ]
    if not parts:
        return
    ids = pd.concat(parts, ignore_index=True).fillna({"bold_path": "no file"})
    ids = ids[ids["scan_id"].duplicated(keep=False)].sort_values(["scan_id", "name"])
    if len(ids):
        lines = [
            f"  {scan}: " + " and ".join(group["name"] + " (" + group["bold_path"] + ")")
            for scan, group in list(ids.groupby("scan_id"))[:10]
        ]
        raise ScansError(
            f"{ids['scan_id'].nunique()} scan ids occur more than once among the data sets "
            f"{', '.join(sorted(ids['name'].unique()))}; rename one of the data sets:\n"
            + "\n".join(lines)
        )


def write_scans(path: Path, scans: pd.DataFrame, unmatched: Unmatched, config_hash: str) -> None:
    """Publish the table of a data set, ordered by scan_id.

    Parameters
    ----------
    scans : DataFrame
        Columns of `tables.SCANS` and string columns ``pheno_*``.
    unmatched : Unmatched
        Stored as JSON in the file's metadata; see `read_unmatched`.
    """
    scans = scans.sort_values("scan_id", ignore_index=True)
    extra = [c for c in scans.columns if c.startswith(PHENO)]
    arrays = [pa.array(_plain(scans[f.name]), f.type) for f in SCANS]
    arrays += [pa.array(_plain(scans[c]), pa.string()) for c in extra]
    fields = [*SCANS, *(pa.field(c, pa.string()) for c in extra)]
    text = json.dumps(asdict(unmatched), ensure_ascii=False, sort_keys=True)
    schema = pa.schema(fields, metadata={UNMATCHED: text.encode()})
    write_table(path, pa.Table.from_arrays(arrays, schema=schema), "scans", config_hash)


def _plain(column: pd.Series) -> list[Any]:
    """Python values, None for every kind of missing."""
    return [v if isinstance(v, list) or not pd.isna(v) else None for v in column.tolist()]


def of_images(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the work on a scan depends on, of its row in the scans table.

    No phenotype, split or batch: a kept scan must not look old because an age was corrected.
    The declared motion counts for ready series, for which it is not measured.
    """
    dropped = OF_PEOPLE if row["kind"] == "timeseries" else OF_PEOPLE | {"mean_fd"}
    return {k: v for k, v in row.items() if k not in dropped and not k.startswith(PHENO)}


def read_unmatched(path: Path) -> Unmatched:
    """Who is in the phenotype table or among the scans only, from a scans table's metadata."""
    metadata = read_table(path, "scans", columns=[]).schema.metadata or {}
    return Unmatched(**json.loads(metadata.get(UNMATCHED, b"{}")))


def read_scans(paths: Paths, datasets: Iterable[str]) -> pa.Table:
    """The scans of several data sets in one table, a column per phenotype of any of them.

    Raises
    ------
    ScansError
        If a scan id occurs twice.
    TableError
        If a table is missing or of another version.
    """
    tables = {name: read_table(paths.scans(name), "scans") for name in datasets}
    check_unique(tables)
    plain = [t.replace_schema_metadata(None) for t in tables.values()]
    return pa.concat_tables(plain, promote_options="default") if plain else SCANS.empty_table()
