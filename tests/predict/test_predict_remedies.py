"""What a user of `predict` is told to do is something that `predict` has."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from brainmass_core.config.inputs import Dataset
from brainmass_core.predict.pipeline_run import DATASET, as_options
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
    assert "set t_r of the data set" in reason
    said = as_options(reason)
    assert "give a copy of the input with one T1w per session, or per participant" in said
    assert "add RepetitionTime (s) to the sidecar" in said
    assert "datasets." not in said
    assert "of the data set" not in said


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (f"correct it, or set datasets.{DATASET}.t_r for scans", "correct it, or set --t-r for"),
        ("2 s in the configuration (t_r, phenotype.t_r_column)", "2 s by --t-r"),
        (f"set datasets.{DATASET}.orientation to time_by_roi", "set --orientation to time_by_roi"),
        ("set header of the data set to true or false", "give --header or --no-header"),
    ],
)
def test_settings_of_ready_series_are_options(ours, theirs):
    assert theirs in as_options(ours)
