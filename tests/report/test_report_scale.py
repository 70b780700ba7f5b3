"""Memory, size and completeness of the report of a very large cohort."""

import json
import subprocess
import sys

import pytest

from brainmass_core.config import load_config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import read_table

N_SCANS = (
    20_000  # pages with all rows, or tables that are read completely, would be noticed at this size
)


@pytest.mark.nightly
@pytest.mark.slow
def test_the_report_of_a_very_large_cohort_is_light_and_counts_every_lost_scan(root, tmp_path):
    script = root / "benchmarks" / "report_scale.py"
    done = subprocess.run(
        [sys.executable, script, "--scans", str(N_SCANS), "--folder", tmp_path, "--keep"],
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["page"] for row in rows] == ["large", "index"]
    for row in rows:
        assert row["peak_rss_mb"] < 2048
        assert row["html_mb"] < 10
    paths = Paths(load_config(tmp_path / "config.yaml").results)
    table = read_table(paths.finetune("large") / "cohort.parquet", "cohort", ["used"])
    lost = N_SCANS - sum(table["used"].to_pylist())
    page = paths.report("large").read_text()
    assert f"{N_SCANS} scans" in page
    assert f"<p>{lost} scans, by reason" in page
    assert f"300 of {lost} are shown" in page
    assert "cohort.parquet (stage and reason)" in page
