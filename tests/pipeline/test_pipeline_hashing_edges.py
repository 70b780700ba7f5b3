"""What makes a result an old one: a filter that is asked for, a file of the same size."""

import os

from brainmass_core.config import parse_config
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.scan_fingerprint import fingerprint


def test_a_filter_of_ready_series_makes_their_series_anew_but_not_their_list(tmp_path):
    dataset = {"kind": "timeseries", "role": "internal", "path": str(tmp_path), "t_r": 2.0}
    plain, filtered = (
        parse_config({"datasets": {"d": dataset | {"band_pass": asked}}}) for asked in (False, True)
    )
    assert stage_hash(plain, "timeseries", "d") != stage_hash(filtered, "timeseries", "d")
    assert stage_hash(plain, "connectivity", "d") != stage_hash(filtered, "connectivity", "d")
    assert stage_hash(plain, "scans", "d") == stage_hash(filtered, "scans", "d")


def test_a_file_overwritten_by_one_of_the_same_size_is_another_file(tmp_path):
    file = tmp_path / "bold.nii.gz"
    file.write_bytes(b"one")
    os.utime(file, ns=(10**18, 10**18))
    first = fingerprint({"path": file})
    os.utime(file, ns=(10**18, 10**18))
    assert fingerprint({"path": file}) == first
    file.write_bytes(b"two")
    os.utime(file, ns=(10**18, 10**18 + 1))
    assert fingerprint({"path": file}) != first
