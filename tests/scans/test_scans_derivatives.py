"""Derivatives: one row per run, in the preferred space, with confounds and mask."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmass_core.scans import ScansError
from brainmass_core.scans.cpac import strategy_of


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
        (["MNI152NLin6Asym", "MNI152NLin2009cAsym", "T1w"], "MNI152NLin6Asym"),  # the atlas's
        (["MNI152NLin2009aSym", "MNI152NLin2009cAsym", "T1w"], "MNI152NLin2009cAsym"),
        (["template", "MNI152NLin6ASym"], "MNI152NLin6ASym"),
        (["template", "MNI152NLin2009cAsym"], "template"),  # C-PAC's default template is FSL's
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


def test_a_phase_image_and_a_run_that_is_there_in_two_files_are_left_out(bids, listed):
    write(bids, stem="sub-01_task-rest_part-phase")
    whole = write(bids, stem="sub-01_task-rest_run-1")
    bids.image(str(whole.relative_to(bids.root)).removesuffix(".gz"))
    phase, twice = listed(bids.root, kind="derivatives").excluded_reason
    assert "the phase part of a complex run, expected magnitude" in phase
    assert f"found {whole.stem} and {whole.name}, expected one of them" in twice


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


class TestCpac:
    """Folders that C-PAC 1.8 left, by its own names."""

    STEM = "sub-01_ses-1_task-rest_run-1"

    def write(self, bids, bold: str, *others: str):
        """A BOLD image, its mask and other files of the run."""
        base = f"sub-01/ses-1/func/{self.STEM}"
        space = bold.split("_")[0]
        bids.image(f"{base}_{space}_desc-bold_mask.nii.gz", (3, 3, 4))
        for name in others:
            bids.text(f"{base}_{name}", "# X\n" + "0\n" * 10)
        return bids.image(f"{base}_{bold}_bold.nii.gz")

    @pytest.mark.parametrize(
        ("bold", "regressors"),
        [
            ("space-template_desc-preproc-1", "desc-1_regressors.1D"),
            ("space-MNI152NLin6ASym_reg-default_desc-preproc", "reg-default_regressors.1D"),
            ("space-MNI152NLin6ASym_reg-default_desc-preproc", "desc-confounds_timeseries.1D"),
            ("space-template_desc-preproc", "desc-movementParameters_motion.1D"),
            ("space-template_desc-preproc", "movement-parameters.1D"),
        ],
    )
    def test_a_run_has_bold_mask_and_confounds(self, bids, listed, bold, regressors):
        path = self.write(bids, bold, regressors)
        row = listed(bids.root, kind="derivatives").iloc[0]
        assert row.excluded_reason is None
        assert row.bold_path == str(path)
        assert row.mask_path.endswith("desc-bold_mask.nii.gz")
        assert row.confounds_path.endswith(f"{self.STEM}_{regressors}")
        assert row.name == f"d_{self.STEM}"

    def test_regressors_of_the_same_strategy_count_before_motion(self, bids, listed):
        self.write(
            bids,
            "space-template_reg-B_desc-preproc",
            "reg-A_regressors.1D",
            "reg-B_regressors.1D",
            "desc-movementParameters_motion.1D",
        )
        row = listed(bids.root, kind="derivatives").iloc[0]
        assert row.confounds_path.endswith("reg-B_regressors.1D")

    def test_bold_before_regression_is_preferred(self, bids, listed):
        for strategy in ("A", "B"):
            self.write(bids, f"space-template_reg-{strategy}_desc-preproc")
        head = self.write(bids, "space-template_desc-head", "reg-A_regressors.1D")
        row = listed(bids.root, kind="derivatives")
        assert row.bold_path.tolist() == [str(head)]
        assert row.excluded_reason.iloc[0] is None

    def test_several_strategies_are_not_chosen_from(self, bids, listed):
        for strategy in ("default", "defaultNoGSR"):
            self.write(
                bids,
                f"space-template_reg-{strategy}_desc-preproc",
                f"reg-{strategy}_regressors.1D",
            )
        row = listed(bids.root, kind="derivatives").iloc[0]
        assert "2 nuisance strategies of C-PAC (default, defaultNoGSR)" in row.excluded_reason

    def test_a_run_without_regressors_and_motion_is_left_out(self, bids, listed):
        self.write(bids, "space-template_desc-preproc")
        reason = listed(bids.root, kind="derivatives").excluded_reason.iloc[0]
        assert "_desc-movementParameters_motion.1D" in reason

    @pytest.mark.parametrize(
        ("name", "strategy"),
        [
            ("x_reg-36Parameter_desc-preproc_bold.nii.gz", "36Parameter"),
            ("x_space-template_desc-preproc-2_bold.nii.gz", "2"),
            ("x_reg-Off_desc-preproc_bold.nii.gz", None),
            ("x_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz", None),
        ],
    )
    def test_a_name_says_which_regression_was_applied(self, name, strategy):
        assert strategy_of(Path(name)) == strategy
