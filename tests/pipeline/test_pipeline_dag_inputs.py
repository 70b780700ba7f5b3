"""A task reads everything that its search for leaks looks at."""

from pathlib import Path

from brainmass_core.config import parse_config
from brainmass_core.pipeline.dag import Study


def test_a_task_on_external_data_reads_the_scans_of_pre_training_too(tmp_path):
    def dataset(role):
        return {"kind": "timeseries", "role": role, "path": str(tmp_path)}

    raw = {
        "results": str(tmp_path / "results"),
        "datasets": {"own": dataset("internal"), "unseen": dataset("external")},
        "tasks": {
            "dx": {"datasets": ["unseen"], "label": "dx", "classes": {"a": ["0"], "b": ["1"]}}
        },
    }
    study = Study(parse_config(raw))
    scans = {Path(f).stem for f in study.task_inputs("dx") if "/scans/" in f}
    assert scans == {"own", "unseen"}
    # copies are found by what the tables of time series say
    series = {Path(f).parent.name for f in study.task_inputs("dx") if "/timeseries/" in f}
    assert series == {"own", "unseen"}
    # who is tested is known before pre-training starts
    assert [Path(f).stem for f in study.tested_scans_tables()] == ["unseen"]
