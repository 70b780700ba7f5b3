"""A T1w of another participant is detected, whatever the result of the registrations."""

from __future__ import annotations

import pytest

from brainmass_core import preprocess, scans
from brainmass_core.config import parse_config
from brainmass_core.config.inputs import Synthetic
from brainmass_core.demo import write_demo
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import read_table

SWAPPED = ("sub-01", "sub-02")


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> dict[str, dict]:
    """Rows of four synthetic participants, two of whom have swapped T1w images."""
    folder = tmp_path_factory.mktemp("swapped")
    write_demo(folder / "bids", Synthetic(n_participants=4, n_volumes=40))
    first, second = (folder / f"bids/{s}/anat/{s}_T1w.nii.gz" for s in SWAPPED)
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    config = parse_config(
        {
            "results": str(folder / "results"),
            "max_failed_fraction": 1.0,
            "datasets": {
                "demo": {"kind": "bids", "role": "internal", "path": str(folder / "bids")}
            },
            "preprocess": {"registration": "syn_fast", "resolution": 3, "max_mean_fd": None},
        },
        "test",
    )
    scans.run(config, "demo")
    preprocess.run(config, "demo", 0, 2)
    table = read_table(Paths(config.results).batch("preprocess", "demo", 0), "preprocess")
    return {row["scan_id"].split("_")[1]: row for row in table.to_pylist()}


@pytest.mark.slow
def test_a_t1w_of_somebody_else_fails_with_the_numbers(rows):
    for participant in SWAPPED:
        row = rows[participant]
        assert (row["status"], row["step"]) == ("failed", "coregistration")
        assert "preprocess.m" in row["reason"]  # the message names the criterion
        assert row["coregistration_sharpness"] < 0.1


@pytest.mark.slow
def test_ones_own_t1w_passes(rows):
    own = [row for name, row in rows.items() if name not in SWAPPED]
    passed = [row for row in own if row["status"] == "ok"]
    assert passed
    assert all(row["coregistration_sharpness"] > 0.14 for row in passed)
