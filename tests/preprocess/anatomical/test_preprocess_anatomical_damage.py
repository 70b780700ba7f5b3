"""Anatomical derivatives of an earlier run are used as they were written, or computed again."""

from __future__ import annotations

import json

import pytest

from brainmass_core.checksums import sealed, sha256_of
from brainmass_core.preprocess.anatomical.t1w import _kept


@pytest.fixture
def record(tmp_path):
    (tmp_path / "x_mask.nii.gz").write_bytes(b"mask")
    content = {
        "key": "k",
        "files": {"mask": "x_mask.nii.gz"},
        "sha256": {"mask": sha256_of(tmp_path / "x_mask.nii.gz")},
        "mask_dice": 0.95,
    }
    file = tmp_path / "x_desc-anatomical.json"
    file.write_text(json.dumps(sealed(content), indent=2))
    return file


def test_what_is_whole_and_made_from_the_same_is_used(record):
    assert _kept(record, "k")["mask_dice"] == 0.95
    assert _kept(record, "other") is None


@pytest.mark.parametrize("name", ["x_mask.nii.gz", "x_desc-anatomical.json"])
def test_a_damaged_file_or_measure_is_made_again(record, name):
    file = record.with_name(name)
    whole = file.read_bytes()
    digit = whole.replace(b"0.95", b"0.85")
    for harmed in (whole[:-2], b"", digit if digit != whole else b"mosk", whole[: len(whole) // 2]):
        file.write_bytes(harmed)
        assert _kept(record, "k") is None
    file.unlink()
    assert _kept(record, "k") is None


def test_a_record_of_an_older_version_is_made_again(record):
    content = json.loads(record.read_text())
    record.write_text(json.dumps({k: v for k, v in content.items() if k != "checksum"}))
    assert _kept(record, "k") is None
