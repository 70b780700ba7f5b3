"""Results of Greedy and deepbet on a real head, and the memory of the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 2048  # MiB, of the entire stage for one head
WORKER = """
import json, sys
from pathlib import Path
from brainmass_core.pipeline import peak
from brainmass_core.config.preprocess import Engines, Preprocess
from brainmass_core.preprocess.anatomical.t1w import anatomy_of, check_anatomy

t1w, templates, out = map(Path, sys.argv[1:])
settings = Preprocess(
    template=templates / "MNI152_T1_2mm.nii.gz",
    template_mask=templates / "MNI152_T1_2mm_brain_mask.nii.gz",
    engines=Engines(normalisation="greedy", brain_extraction="deepbet"),
)

def most():  # of this program: ru_maxrss counts what the process held before it began, too
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

peak._forgotten = lambda: False  # else each step sets the kernel's peak back
heads = []
for number in range(2):
    found = anatomy_of(str(t1w), out / str(number), settings)
    check_anatomy(found, settings, str(t1w))
    heads.append(
        {
            "peak": most(),
            "volume": found.brain_volume,
            "coverage": found.t1w_coverage,
            "correlation": found.template_correlation,
        }
    )
print(json.dumps(heads))
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_a_real_head_is_taken_whole_below_2_gib_also_the_second_of_a_worker(
    shared_data: Path, tmp_path: Path
) -> None:
    """SyN with the template's mask, which cuts the lower cerebellum, finds 1,698 ml."""
    folder = shared_data / "bids_studyforrest_sub02" / "sub-02" / "anat"
    given = [folder / "sub-02_T1w.nii.gz", shared_data / "templates_mni", tmp_path]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WORKER, *map(str, given)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout.splitlines()[-1])
    assert first["peak"] > 500, "the peak of the head's work, not of the last step"
    assert max(first.pop("peak"), second.pop("peak")) < LIMIT
    assert first == second, "the same bits for the same head"
    assert 1750 < first["volume"] < 1830
    assert first["coverage"] > 0.999
    assert first["correlation"] > 0.76  # measured 0.780; SyN's is 0.848, which bends more
