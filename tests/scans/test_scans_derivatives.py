"""Derivatives: one row per run, in the preferred space, with confounds and mask."""

from __future__ import annotations

import pytest

from brainmass_core.scans import ScansError


def write(bids, stem="sub-01_task-rest", space="MNI152NLin2009cAsym", confounds="timeseries"):
    """What fMRIPrep leaves of a run in one space."""
    base = f"sub-01/func/{stem}"
    bold = f"{base}_space-{space}_desc-preproc_bold"
    bids.json(f"{bold}.json", RepetitionTime=2.0)
    bids.image(f"{base}_space-{space}_desc-brain_mask.nii.gz", (3, 3, 4))
    if confounds:
        bids.text(f"{base}_desc-confounds_{confounds}.tsv", "trans_x\n" + "0\n" * 10)
    return bids.image(f"{bold}.nii.gz")


@pytest.mark.parametrize("confounds", ["timeseries", "regressors"])
def test_a_run_has_bold_mask_and_confounds(bids, listed, confounds):
    bold = write(bids, confounds=confounds)
    scans = listed(bids.root, kind="derivatives")
    assert list(scans.index) == ["d_sub-01_task-rest"]
    row = scans.iloc[0]
    assert row.excluded_reason is None
    assert row.bold_path == str(bold)
    assert row.mask_path == str(bold).replace("desc-preproc_bold", "desc-brain_mask")
    assert row.confounds_path.endswith(f"/sub-01_task-rest_desc-confounds_{confounds}.tsv")
    assert (row.t_r, row.n_volumes, row.t1w_path) == (2.0, 10, None)


@pytest.mark.parametrize(
    ("spaces", "chosen"),
    [
        (["MNI152NLin6Asym", "MNI152NLin2009cAsym", "T1w"], "MNI152NLin2009cAsym"),
        (["T1w", "MNI152NLin6Asym", "MNI152Lin"], "MNI152NLin6Asym"),
        (["MNI152NLin6ASym", "T1w"], "MNI152NLin6ASym"),  # C-PAC's spelling
        (["template", "T1w"], "template"),
        (["MNI152NLin2009cAsym_res-2", "MNI152NLin2009cAsym"], "MNI152NLin2009cAsym"),
    ],
)
def test_of_several_spaces_the_preferred_is_taken_once(bids, listed, spaces, chosen):
    for space in spaces:
        write(bids, space=space)
    row = listed(bids.root, kind="derivatives")
    assert len(row) == 1
    assert f"space-{chosen}_desc-preproc_bold" in row.bold_path.iloc[0]
    assert f"space-{chosen}_desc-brain_mask" in row.mask_path.iloc[0]


def test_a_run_without_a_template_space_is_left_out(bids, listed):
    write(bids, space="T1w")
    assert "'T1w'" in listed(bids.root, kind="derivatives").excluded_reason.iloc[0]


def test_a_run_without_confounds_is_left_out(bids, listed):
    write(bids, confounds=None)
    assert "no confounds" in listed(bids.root, kind="derivatives").excluded_reason.iloc[0]


def test_a_run_without_a_mask_on_its_grid_is_left_out(bids, listed):
    bold = write(bids)
    mask = bold.parent / bold.name.replace("desc-preproc_bold", "desc-brain_mask")
    mask.rename(mask.parent / mask.name.replace("_desc", "_res-2_desc"))
    assert "no brain mask" in listed(bids.root, kind="derivatives").excluded_reason.iloc[0]


def test_runs_do_not_share_confounds(bids, listed):
    for run in (1, 2):
        write(bids, f"sub-01_task-rest_run-{run}")
    scans = listed(bids.root, kind="derivatives")
    assert [f"_run-{r}_desc-confounds" in scans.confounds_path.iloc[r - 1] for r in (1, 2)]
    assert scans.confounds_path.nunique() == 2


def test_raw_bids_given_as_derivatives_is_an_error(bids, listed):
    bids.run()
    with pytest.raises(ScansError, match="correct path or kind"):
        listed(bids.root, kind="derivatives")
