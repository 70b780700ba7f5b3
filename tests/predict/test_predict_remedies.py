"""What a user of `predict` is told to do is something that `predict` has."""

from __future__ import annotations

import json
import logging
import re

import nibabel as nib
import numpy as np
import pytest
from synthetic_study import N_ROIS

from brainmass_core.config.inputs import Dataset
from brainmass_core.predict import Options, PredictError, predict
from brainmass_core.predict.remedies import DATASET, as_options
from brainmass_core.scans.bids import list_bids


def image(path, shape, t_r=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4))
    made.set_qform(np.eye(4), code=1)
    if t_r is not None:
        made.header.set_xyzt_units("mm", "sec")
        made.header["pixdim"][4] = t_r
    nib.save(made, path)


def reasons(folder) -> list[str]:
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "x"}))
    dataset = Dataset(kind="bids", role="pretrain", path=folder)
    return [row["excluded_reason"] or "" for row in list_bids(DATASET, dataset)]


def test_several_t1w_and_no_repetition_time(tmp_path):
    image(tmp_path / "sub-01/func/sub-01_task-rest_bold.nii.gz", (4, 4, 4, 20), 1.0)
    for run in (1, 2):
        image(tmp_path / f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz", (4, 4, 4))
    (reason,) = reasons(tmp_path)
    assert f"datasets.{DATASET}.t1w" in reason
    assert "if it is 1 s, set t_r: 1 for the data set" in reason
    said = as_options(reason)
    assert "give a copy of the input with one T1w per session, or per participant" in said
    assert "add RepetitionTime (s) to the sidecar" in said
    assert "datasets." not in said
    assert "the data set" not in said


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (f"correct it, or set datasets.{DATASET}.t_r for scans", "correct it, or set --t-r for"),
        ("2 s in the configuration (t_r, phenotype.t_r_column)", "2 s by --t-r"),
        (f"set datasets.{DATASET}.orientation to time_by_roi", "set --orientation to time_by_roi"),
        ("set header of the data set to true or false", "give --header or --no-header"),
        ("choose the others by `array`, or narrow `pattern`", "by --array, or narrow --pattern"),
    ],
)
def test_settings_of_ready_series_are_options(ours, theirs):
    assert theirs in as_options(ours)


PATH = "/data/in/sub-01_bold.nii.gz"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            f"{PATH}: 40 timepoints, fewer than preprocess.min_volumes 50",
            f"{PATH}: 40 timepoints, fewer than the model's min_volumes 50",
        ),
        (
            f"{PATH}: found 9 volumes lower preprocess.min_volumes, if so short a run is meant",
            f"{PATH}: found 9 volumes",
        ),
        ("correct the sidecar, or set preprocess.slice_timing to false", "correct the sidecar"),
        ("damaged set preprocess.engines.motion to embedded", "damaged"),
        (
            "check the T1w: is it a whole head? Or choose another "
            "preprocess.engines.brain_extraction",
            "check the T1w: is it a whole head?",
        ),
        (
            "choose another engine at preprocess.engines.motion, for instance embedded",
            "",
        ),
        ("it reaches 0.1 Hz); change timeseries.low_hz and high_hz", "it reaches 0.1 Hz)"),
        (
            "too short for the filter (x); use timeseries.filter: ideal",
            "too short for the filter (x)",
        ),
        (
            "lacks ['fd'], which timeseries.censor needs to find volumes with motion; "
            "set timeseries.censor.method to none, choose another fd_kind, or write the table "
            "again with them",
            "lacks ['fd'], which the model's censor needs to find volumes with motion; "
            "write the table again with them",
        ),
        (
            "so that preprocess.max_std_dvars 2 cannot be applied; add it, or leave "
            "preprocess.max_std_dvars empty",
            "so that the model's max_std_dvars 2 cannot be applied; add it",
        ),
        (
            "cannot be applied; add it, or leave preprocess.max_mean_fd empty to take all runs",
            "cannot be applied; add it",
        ),
        (
            "complete brain? If only parts that you do not need are missing, lower "
            "preprocess.min_t1w_coverage",
            "complete brain?",
        ),
        (
            "after 5 s (scan_timeout); it was stopped look at the scan with a viewer, "
            "or raise scan_timeout",
            "after 5 s; it was stopped look at the scan with a viewer",
        ),
        (
            "raise resources.preprocess.mem_mb, or look at the scan",
            "lower --threads, or use a machine with more memory, or look at the scan",
        ),
        ("give the label image as atlas.path", "give the label image by --atlas"),
        (
            "remove rows, or, if a row is a session, name its column in "
            "phenotype.session_column, or, if a row is a scan of kind timeseries, set "
            "phenotype.scan_column",
            "remove rows, or, if a row is a session, call its column session_id",
        ),
    ],
)
def test_settings_of_the_model_are_its_own_and_nobody_is_told_to_change_them(ours, theirs):
    assert as_options(ours) == theirs


@pytest.mark.parametrize(
    "text",
    [
        "/d/sub-a_atlas-x_timeseries.tsv: found t_r 0.7 s",
        "timeseries.csv: no such file",
        "/d/preprocess.old/a.npy: x",
        "/d/in/timeseries.npy: 3 timepoints",
    ],
)
def test_names_of_files_are_no_settings(text):
    assert as_options(text) == text


SETTING = re.compile(r"\b(datasets|preprocess|timeseries|connectivity|phenotype|atlas)\.[a-z_]+")


@pytest.mark.study
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"short\.npy: 10 timepoints, fewer than the model's min_volumes"),
        ({"t_r": -1.0}, r"--t-r: .*-1"),
        ({"orientation": "sideways"}, r"--orientation: .*sideways"),
    ],
)
def test_messages_and_log_of_series_name_no_setting(model_folder, tmp_path, caplog, options, said):
    rng = np.random.default_rng(0)
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "short.npy", rng.standard_normal((10, N_ROIS)))
    caplog.set_level(logging.INFO)
    with pytest.raises(PredictError) as raised:
        predict(model_folder, folder, tmp_path / "p.tsv", options=Options(**options))
    message = str(raised.value)
    assert re.search(said, message), message
    logged = [r.getMessage() for r in caplog.records if r.name.startswith("brainmass_core")]
    for text in (message, *logged):
        assert not SETTING.search(text), text
    if not options:
        assert any("not applied to data of kind timeseries: the model's" in t for t in logged)
