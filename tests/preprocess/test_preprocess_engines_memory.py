"""What the anatomical stage needs in a process of its own, with Greedy and deepbet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 2048  # MB, of all that the stage takes for a head
WORKER = """
import json, resource, sys
from pathlib import Path
from brainmass_core.pipeline import peak
from brainmass_core.config.preprocess import Engines, Preprocess
from brainmass_core.preprocess.anatomical.t1w import anatomy_of

peak._forgotten = lambda: False  # else each step sets the kernel's peak back, and ru_maxrss with it
engines = Engines(normalisation="greedy", brain_extraction="deepbet")
peaks, volumes = [], []
for number in range(2):
    found = anatomy_of(sys.argv[1], Path(sys.argv[2]) / str(number), Preprocess(engines=engines))
    volumes.append(found.brain_volume)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(json.dumps({"peaks": peaks, "volumes": volumes}))
"""


@pytest.mark.slow
def test_the_whole_anatomy_of_a_real_head_stays_below_2_gib_also_the_second_of_a_worker(
    shared_data: Path, tmp_path: Path
) -> None:
    t1w = shared_data / "bids_studyforrest_sub02" / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WORKER, str(t1w), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert all(1600 < v < 2000 for v in found["volumes"]), found  # both were worked out
    assert max(found["peaks"]) < LIMIT, found
