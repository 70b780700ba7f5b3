"""Participants and sessions that a data set's section chooses, in the list and in fingerprints."""

from __future__ import annotations

import pytest

from brainmass_core.config import ConfigError, parse_config
from brainmass_core.pipeline.data_changes import DataChanges
from brainmass_core.scans import ScansError


@pytest.fixture
def three(bids):
    """Three participants with two sessions each, and a T1w in the first."""
    for who in ("01", "02", "03"):
        bids.t1w(f"sub-{who}_ses-a")
        for session in ("a", "b"):
            bids.run(f"sub-{who}_ses-{session}_task-rest")
    return bids


@pytest.mark.parametrize("labels", [["01", "sub-03"], ["sub-03", "01", "03"]])
def test_only_the_chosen_participants_are_listed(three, listed, labels):
    assert set(listed(three.root, participants=labels).participant_id) == {"sub-01", "sub-03"}


def test_only_bold_of_the_chosen_sessions_is_listed_with_the_t1w_of_another(three, listed):
    found = listed(three.root, sessions=["ses-b"])
    assert set(found.session) == {"b"}
    assert len(found) == 3
    assert found.t1w_path.str.contains("ses-a").all()
    assert found.excluded_reason.isna().all()


def test_of_derivatives_too(three, listed):
    for who in ("01", "02"):
        stem = f"sub-{who}/ses-a/func/sub-{who}_ses-a_task-rest_space-MNI152NLin6Asym"
        three.image(f"{stem}_desc-preproc_bold.nii.gz")
    found = listed(three.root, kind="derivatives", participants=["02"])
    assert list(found.participant_id) == ["sub-02"]


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"participants": ["07"]}, r"datasets\.d\.participants: .* has no 07; it has 01, 02, 03"),
        ({"sessions": ["c"]}, r"datasets\.d\.sessions: .* has no c; it has a, b"),
    ],
)
def test_a_label_that_does_not_exist_is_refused_with_those_that_do(three, listed, over, said):
    with pytest.raises(ScansError, match=said):
        listed(three.root, **over)


def test_a_label_must_be_text_and_series_have_none(tmp_path):
    def config(**over):
        d = {"kind": "bids", "role": "external", "path": str(tmp_path)} | over
        return parse_config({"datasets": {"d": d}})

    with pytest.raises(ConfigError, match="put labels in quotes"):
        config(participants=[1])
    with pytest.raises(ConfigError, match="choose among folders of BIDS"):
        config(kind="timeseries", participants=["a"])


def changes(bids, **over) -> DataChanges:
    d = {"kind": "bids", "role": "external", "path": str(bids.root), "batches": 1} | over
    return DataChanges(parse_config({"datasets": {"d": d}}))


def test_a_participant_who_is_not_chosen_repeats_nothing(three):
    before = changes(three, participants=["01"])
    found = [before.inputs(stage, "d") for stage in ("scans", "preprocess")]
    assert before.n_scans("d") == 2
    three.run("sub-02_ses-b_task-rest", shape=(3, 3, 4, 11))
    after = changes(three, participants=["01"])
    assert [after.inputs(stage, "d") for stage in ("scans", "preprocess")] == found
    assert changes(three).inputs("scans", "d") != found[0]


@pytest.mark.parametrize("over", [{"participants": ["01"]}, {"sessions": ["a"]}])
def test_another_choice_lists_again_but_finished_scans_are_kept(three, over):
    every, some = changes(three), changes(three, **over)
    assert every.hash("scans", "d") != some.hash("scans", "d")
    assert every.inputs("preprocess", "d") != some.inputs("preprocess", "d")
    assert every.hash("estimates", "d") == some.hash("estimates", "d")
    assert every.hash("series", "d") == some.hash("series", "d")
