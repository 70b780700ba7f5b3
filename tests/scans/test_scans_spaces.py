"""In which template space derivatives lie, and which are left out because of it."""

from __future__ import annotations

import pytest
from test_scans_derivatives import write

from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C


@pytest.mark.parametrize(
    ("entity", "space"),
    [(FSL, FSL), ("MNI152NLin6ASym", FSL), ("template", FSL), (ICBM_2009C, ICBM_2009C)],
)
def test_the_table_says_the_space_of_a_run(bids, listed, entity, space):
    write(bids, space=entity)
    row = listed(bids.root, kind="derivatives").iloc[0]
    assert row.excluded_reason is None
    assert row.space == space


def test_raw_runs_lie_in_no_template_space(bids, listed):
    bids.run()
    bids.t1w()
    assert listed(bids.root).space.isna().all()


@pytest.mark.parametrize("atlas", [FSL, ICBM_2009C, ICBM_2009A])
def test_the_atlas_s_own_space_is_taken_first(bids, listed, atlas):
    for space in (FSL, ICBM_2009C, ICBM_2009A, "MNI152Lin"):
        write(bids, space=space)
    sections = {"atlas": {"name": "mine", "n_rois": 3, "space": atlas}}
    row = listed(bids.root, kind="derivatives", sections=sections)
    assert row.space.tolist() == [atlas]


def test_a_space_without_a_bridge_is_left_out_with_the_remedy(bids, listed, monkeypatch, tmp_path):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    write(bids, space="MNI152Lin")
    reason = listed(bids.root, kind="derivatives").excluded_reason.iloc[0]
    assert "no bridge from MNI152Lin to MNI152NLin6Asym" in reason
    assert str(tmp_path) in reason


def test_a_vague_space_is_left_out_with_the_choices(bids, listed):
    write(bids, space="MNI152")
    reason = listed(bids.root, kind="derivatives").excluded_reason.iloc[0]
    assert "several templates share" in reason
    assert ICBM_2009C in reason


def test_the_sidecar_has_to_agree_with_the_name(bids, listed):
    bold = write(bids, space=FSL)
    sidecar = str(bold.relative_to(bids.root)).replace(".nii.gz", ".json")
    url = "https://templateflow.s3.amazonaws.com/tpl-{0}/tpl-{0}_res-02_T1w.nii.gz"
    bids.json(sidecar, RepetitionTime=2.0, SpatialReference=url.format(ICBM_2009C))
    reason = listed(bids.root, kind="derivatives").excluded_reason.iloc[0]
    assert f"name gives {FSL}, SpatialReference of its sidecar {ICBM_2009C}" in reason
    bids.json(sidecar, RepetitionTime=2.0, SpatialReference={"VolumeReference": url.format(FSL)})
    assert listed(bids.root, kind="derivatives").excluded_reason.iloc[0] is None


def test_the_sidecar_says_what_c_pac_s_template_is(bids, listed):
    bold = write(bids, space="template")
    sidecar = str(bold.relative_to(bids.root)).replace(".nii.gz", ".json")
    bids.json(sidecar, RepetitionTime=2.0, SpatialReference="/t/tpl-MNI152NLin2009cAsym_T1w.nii")
    assert listed(bids.root, kind="derivatives").space.iloc[0] == ICBM_2009C


def test_cohorts_of_a_template_are_spaces_of_their_own(bids, listed):
    write(bids, space="MNIInfant_cohort-3")
    sections = {"atlas": {"name": "mine", "n_rois": 3, "space": "MNIInfant"}}
    row = listed(bids.root, kind="derivatives", sections=sections).iloc[0]
    assert "no bridge from MNIInfantCohort3 to MNIInfant" in row.excluded_reason
