"""What makes a kept scan an old one: another value, a file of the same size."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from brainmass_core.config import parse_config
from brainmass_core.pipeline.scan_fingerprint import fingerprint


def test_a_fingerprint_follows_values_and_files(tmp_path: Path) -> None:
    file = tmp_path / "bold.nii.gz"
    file.write_bytes(b"one")
    item = {"path": file, "t_r": 2.0, "ids": {"b", "a"}, "bold": np.arange(6.0).reshape(2, 3)}
    first = fingerprint(item)
    assert fingerprint(dict(reversed(item.items()))) == first
    assert fingerprint({**item, "t_r": 3.0}) != first
    assert fingerprint({**item, "ids": {"a"}}) != first
    assert fingerprint({**item, "bold": np.arange(6.0).reshape(3, 2)}) != first
    assert fingerprint({**item, "path": str(file)}) == first
    file.write_bytes(b"more")
    assert fingerprint(item) != first


def test_a_fingerprint_ignores_what_stage_hash_is_about(tmp_path: Path) -> None:
    dataset = {"kind": "timeseries", "role": "internal", "path": str(tmp_path)}
    one, other = (
        parse_config({"datasets": {"d": dataset}, "report": {"title": title}}) for title in "ab"
    )
    assert fingerprint((one, 1)) == fingerprint((other, 1))
    before = fingerprint(tmp_path)
    (tmp_path / "new").touch()
    assert fingerprint(tmp_path) == before


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
