"""Other batches, another split or other columns of people only regroup finished scans."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import study

pytestmark = pytest.mark.slow


def estimates(results: Path) -> dict[str, tuple[int, bytes]]:
    """When each derivative was written, and what is in it."""
    folder = results / "preprocess" / "demo" / "derivatives"
    files = [f for f in folder.rglob("sub-*") if f.is_file()]
    return {str(f): (f.stat().st_mtime_ns, f.read_bytes()) for f in files}


def rows(results: Path) -> list[dict]:
    tables = (results / "preprocess" / "demo").glob("*.parquet")
    found = [row for t in tables for row in pq.ParquetFile(t).read().to_pylist()]
    damaged = [row["scan_id"] for row in found if row["status"] == "failed"]
    assert damaged == ["demo_sub-04_task-rest"], "it is tried again each time"
    return sorted((r for r in found if r["status"] == "ok"), key=lambda row: row["scan_id"])


def test_no_scan_is_registered_again_for_other_batches_or_another_split(tmp_path):
    config = study.raw_bids_config()
    study.write_config(tmp_path, config)
    study.succeed(tmp_path, "preprocess")
    results = tmp_path / "results"
    before, files = rows(results), estimates(results)
    assert len(before) == 3
    assert files

    config["datasets"]["demo"] |= {"batches": 3, "evaluation_fraction": 0.25, "role": "pretrain"}
    config["datasets"]["demo"]["phenotype"] = {"age_column": "age", "sex_column": "sex"}
    study.write_config(tmp_path, config | {"seed": 5})
    said = study.succeed(tmp_path, "preprocess")
    assert "preprocess_batch" in said, "the tables are made again"
    assert len(list((results / "preprocess" / "demo").glob("[012].parquet"))) == 3
    assert rows(results) == before, "with the seconds that the first run took"
    assert estimates(results) == files
