"""What a report of 70,781 scans costs: wall time, peak memory, size of the pages.

Results are simulated (`simulated_results`), then each page is made in a process of its own.

    python benchmarks/report_scale.py [--scans 70781] [--folder /tmp/report-scale] [--keep]

prints one JSON line per page: seconds, CPU seconds, peak_rss_mb, html_mb.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from simulated_results import simulate

CHILD = """
import json, resource, sys, time
from pathlib import Path
from brainmass_core.config import load_config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.report import run
config, page = load_config(Path(sys.argv[1])), sys.argv[2]
start, cpu = time.perf_counter(), time.process_time()
run(config, page)
print(json.dumps({
    "page": page,
    "seconds": round(time.perf_counter() - start, 1),
    "cpu_seconds": round(time.process_time() - cpu, 1),
    "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    "html_mb": round(Paths(config.results).report(page).stat().st_size / 2**20, 2),
}))
"""


def measure(config: Path) -> list[dict]:
    """Cost of each page, made in a process of its own."""
    found = []
    for page in ("large", "index"):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(config), page],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(done.stderr)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def main() -> None:
    """Simulate, measure, print, remove."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scans", type=int, default=70_781)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the simulated results")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="report-scale-"))
    try:
        for row in measure(simulate(folder, given.scans)):
            print(json.dumps(row), flush=True)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
