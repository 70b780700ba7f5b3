"""How many scans of a batch may fail."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from batch_processes import items, job, process

from brainmass_core.pipeline.batch import BatchError, run_batch


@pytest.mark.parametrize(("limit", "passes"), [(0.25, True), (0.24, False)])
def test_a_batch_with_exactly_the_share_of_failures_that_is_allowed_passes(
    tmp_path: Path, limit: float, passes: bool
) -> None:
    work = items(4, tmp_path / "calls", scan_1="failed")
    one = job(tmp_path / "r", max_failed_fraction=limit)
    if passes:
        assert len(run_batch(one, work, process)) == 4
    else:
        with pytest.raises(BatchError, match="1 of 4 scans failed"):
            run_batch(one, work, process)
