"""Participants who are tested in one data set are not used for pre-training in another, and this is
reported at once.
"""

import pandas as pd
import pytest

from brainmass_core.config import parse_config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.tested_people import refuse_tested_people
from brainmass_core.pretrain.launch.torchrun import run
from brainmass_core.scans.copies import LeakError
from brainmass_core.scans.table import Unmatched, write_scans
from brainmass_core.tables import SCANS

ROLES = [("pretrain", "external"), ("internal", "external"), ("pretrain", "internal")]


def study(folder, roles, ids=("sub-01", "sub-02"), tested=("sub-01", "sub-03"), **more):
    """Data sets `a` and `b` with their roles; a task tests the participants of `b`."""
    folder.mkdir(exist_ok=True)
    splits = {"pretrain": "pretrain", "internal": "train", "external": "test"}
    raw = {
        "results": str(folder / "results"),
        "datasets": {
            name: {"kind": "timeseries", "role": role, "path": str(folder), "t_r": 2}
            for name, role in zip("ab", roles, strict=True)
        },
        "tasks": {"dx": {"datasets": ["b"], "label": "dx", "classes": {"c": ["0"], "p": ["1"]}}},
    }
    config = parse_config(raw | more)
    for name, role, who in zip("ab", roles, (ids, tested), strict=True):
        split = "test" if name == "b" else splits[role]
        rows = [
            dict.fromkeys(SCANS.names)
            | {"scan_id": f"{name}_{p}", "dataset": name, "participant_id": p, "split": split}
            for p in who
        ]
        path = Paths(config.results).scans(name)
        write_scans(path, pd.DataFrame(rows).astype(object), Unmatched(), "hash")
    return config


@pytest.mark.parametrize("roles", ROLES, ids=" and ".join)
def test_the_same_id_on_both_sides_is_refused_before_training(tmp_path, roles):
    config = study(tmp_path, roles)
    with pytest.raises(LeakError, match=r"1 scans .*b_sub-01 \(the same participant as a_sub-01\)"):
        run(config, tmp_path / "config.yaml")


def test_other_people_and_allowed_ids_pass(tmp_path):
    refuse_tested_people(study(tmp_path / "1", ROLES[0], tested=("sub-04",)))
    refuse_tested_people(study(tmp_path / "2", ROLES[0], allow_same_ids=["sub-01"]))
    refuse_tested_people(study(tmp_path / "3", ROLES[0], allow_same_ids=["b"]))
    with pytest.raises(LeakError):
        refuse_tested_people(study(tmp_path / "4", ROLES[0], allow_same_ids=["sub-02"]))


def test_data_that_no_task_tests_may_hold_anybody(tmp_path):
    refuse_tested_people(study(tmp_path, ROLES[0], tasks={}))


def test_a_scan_that_was_excluded_is_nobody(tmp_path):
    config = study(tmp_path, ROLES[0])
    path = Paths(config.results).scans("a")
    rows = [
        dict.fromkeys(SCANS.names)
        | {"scan_id": "a_x", "dataset": "a", "participant_id": "sub-01", "split": "pretrain"}
        | {"excluded_reason": "truncated"}
    ]
    write_scans(path, pd.DataFrame(rows).astype(object), Unmatched(), "hash")
    refuse_tested_people(config)
