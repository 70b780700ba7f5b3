"""What `preprocess` wrote is read as it was written, or the scan fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_timeseries_bids import Study

from brainmass_core.checksums import sha256_of


@pytest.mark.parametrize("name", ["c.txt", "m.npy", "n.npz", "confounds.tsv", "mask.nii.gz"])
def test_a_flipped_bit_in_an_output_of_preprocess_fails_the_scan(tmp_path: Path, name: str) -> None:
    study = Study(tmp_path)
    names = {"normalisation": "d/n.npz", "coregistration": "d/c.txt", "motion": "d/m.npy"}
    names |= {"confounds": "d/confounds.tsv", "bold_mask": "d/mask.nii.gz"}
    written = {"sha256": [(k, sha256_of(study.root / v)) for k, v in names.items()]}
    assert study.run(written)[0].status == "ok"
    file = study.root / "d" / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    entry, _ = study.run(written)  # not from what was kept: the file is another one
    assert entry.status == "failed"
    assert f"{name}: found sha256" in entry.reason
    assert entry.remedy == "run preprocess again for this data set"
