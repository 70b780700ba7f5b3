"""Fieldmaps in BIDS folders are found by their sidecars or refused with a reason, never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.distortion.fieldmap import find_fieldmap, radians

RUN = "func/sub-01_ses-1_task-rest_bold.nii.gz"
EPI = {"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.05}


class Study:
    """A data set of one participant with one run."""

    def __init__(self, root: Path) -> None:
        self.participant = root / "sub-01"
        self.session = self.participant / "ses-1"
        self.bold = self.session / RUN
        self.image(self.bold, {})

    def image(self, path: Path, sidecar: dict | None, values: np.ndarray | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        if values is None:
            values = np.random.default_rng(0).random((4, 5, 3))
        nib.save(nib.Nifti1Image(np.asarray(values, dtype=np.float32), np.eye(4)), path)
        if sidecar is not None:
            path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
        return path

    def fmap(self, name: str, sidecar: dict | None = None, values=None) -> Path:
        path = self.session / "fmap" / f"sub-01_ses-1_{name}.nii.gz"
        return self.image(path, sidecar, values)


@pytest.fixture
def study(tmp_path) -> Study:
    return Study(tmp_path)


INTENDED = {
    "relative": f"ses-1/{RUN}",
    "uri": f"bids::sub-01/ses-1/{RUN}",
    "list": ["ses-1/func/other_bold.nii.gz", f"ses-1/{RUN}"],
}


@pytest.mark.parametrize("form", INTENDED)
def test_intended_for_ties_a_fieldmap_to_its_run(study, form):
    about = EPI | {"IntendedFor": INTENDED[form]}
    ap = study.fmap("dir-AP_epi", about | {"PhaseEncodingDirection": "j-"})
    pa = study.fmap("dir-PA_epi", about)
    found = find_fieldmap(study.bold)
    assert (found.kind, found.paths) == ("pepolar", (ap, pa))
    assert found.load().encodings == (("j-", 0.05), ("j", 0.05))


def test_identifiers_tie_and_decide_alone(study):
    study.image(study.bold, {"B0FieldSource": "pepolar0"})
    study.fmap("dir-AP_epi", EPI | {"B0FieldIdentifier": ["other", "pepolar0"]})
    study.fmap(
        "dir-PA_epi", EPI | {"IntendedFor": INTENDED["uri"]}
    )  # the sidecar of the run differs
    assert [p.name for p in find_fieldmap(study.bold).paths] == ["sub-01_ses-1_dir-AP_epi.nii.gz"]


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"IntendedFor": "ses-1/func/sub-01_ses-1_task-other_bold.nii.gz"},
        {"IntendedFor": "ses-2/" + RUN},
        {"B0FieldIdentifier": "somebody"},
    ],
)
def test_what_names_no_run_belongs_to_none(study, about):
    study.fmap("dir-AP_epi", EPI | about)
    study.fmap("phasediff", {"EchoTime1": 0.004, "EchoTime2": 0.006} | about)
    assert find_fieldmap(study.bold) is None


def test_no_folder_no_fieldmap(study, tmp_path):
    assert find_fieldmap(study.bold) is None
    loose = study.image(tmp_path / "run_bold.nii.gz", None)
    assert find_fieldmap(loose) is None


def test_without_sessions_too(tmp_path):
    study = Study(tmp_path)
    bold = study.image(tmp_path / "sub-01/func/sub-01_task-rest_bold.nii.gz", {})
    path = tmp_path / "sub-01/fmap/sub-01_dir-PA_epi.nii.gz"
    study.image(path, EPI | {"IntendedFor": "func/sub-01_task-rest_bold.nii.gz"})
    assert find_fieldmap(bold).paths == (path,)


def test_metadata_are_inherited(study):
    study.fmap("dir-PA_epi", {"IntendedFor": INTENDED["relative"]})
    (study.participant.parent / "dir-PA_epi.json").write_text(json.dumps(EPI))
    assert find_fieldmap(study.bold).load().encodings == (("j", 0.05),)


@pytest.mark.parametrize("span", [4096, 8192, 2 * np.pi])
def test_phases_come_in_rad_whatever_the_scanner_writes(study, span):
    truth = np.linspace(-np.pi, np.pi, 60, endpoint=False).reshape(4, 5, 3)
    about = {"EchoTime1": 0.00492, "EchoTime2": 0.00738, "IntendedFor": INTENDED["uri"]}
    written = truth if span < 7 else np.rint((truth + np.pi) * span / (2 * np.pi))
    phase = study.fmap("phasediff", about, written)
    magnitude = study.fmap("magnitude1")
    found = find_fieldmap(study.bold)
    assert (found.kind, found.paths) == ("phasediff", (phase, magnitude))
    loaded = found.load()
    assert loaded.echo_difference == pytest.approx(0.00246)
    np.testing.assert_allclose(loaded.images[0].data, truth, atol=0.11)
    np.testing.assert_allclose(
        np.diff(loaded.images[0].data.ravel()), 2 * np.pi / 60, rtol=0.05, atol=0.002
    )


def test_radians_keep_their_zero_and_signed_units_their_scale():
    phase = np.linspace(-3, 3, 50)
    np.testing.assert_array_equal(radians(phase), phase)
    signed = np.linspace(-4096, 4094, 4096)  # Siemens, after its slope and intercept
    np.testing.assert_allclose(radians(signed), signed * np.pi / 4096, atol=1e-3)


def test_two_phases_belong_together(study):
    one = study.fmap("phase1", {"EchoTime": 0.004, "IntendedFor": INTENDED["uri"]})
    two = study.fmap("phase2", {"EchoTime": 0.0065})
    magnitude = study.fmap("magnitude1")
    found = find_fieldmap(study.bold)
    assert (found.kind, found.paths) == ("phasediff", (one, two, magnitude))
    assert found.load().echo_difference == pytest.approx(0.0025)


@pytest.mark.parametrize(
    ("units", "per_hz"), [("Hz", 1), ("rad/s", 2 * np.pi), ("T", 1 / 42.577e6)]
)
def test_measured_fields_come_in_hz(study, units, per_hz):
    truth = np.random.default_rng(1).normal(0, 60, (4, 5, 3))
    study.fmap("fieldmap", {"Units": units, "IntendedFor": INTENDED["uri"]}, truth * per_hz)
    study.fmap("magnitude")
    loaded = find_fieldmap(study.bold).load()
    assert loaded.kind == "fieldmap"
    np.testing.assert_allclose(loaded.images[0].data, truth, rtol=1e-5)


def test_a_series_of_volumes_is_averaged(study):
    values = np.random.default_rng(2).random((4, 5, 3, 6))
    study.fmap("dir-PA_epi", EPI | {"IntendedFor": INTENDED["uri"]}, values)
    found = find_fieldmap(study.bold).load().images[0]
    np.testing.assert_allclose(found.data, values.mean(axis=3), rtol=1e-5)


# What is refused: (files to write, what the message names)
BROKEN = {
    "no readout time": ({"dir-PA_epi": {"PhaseEncodingDirection": "j"}}, "TotalReadoutTime"),
    "readout in ms": ({"dir-PA_epi": EPI | {"TotalReadoutTime": 50}}, "TotalReadoutTime 50"),
    "direction": ({"dir-PA_epi": EPI | {"PhaseEncodingDirection": "PA"}}, "'PA'"),
    "units": ({"fieldmap": {"Units": "mT"}, "magnitude": None}, "'mT'"),
    "no magnitude": ({"phasediff": {"EchoTime1": 0.004, "EchoTime2": 0.006}}, "magnitude1"),
    "no second phase": ({"phase1": {"EchoTime": 0.004}, "magnitude1": None}, "phase2"),
    "no echo time": ({"phasediff": {"EchoTime1": 0.004}, "magnitude1": None}, "EchoTime2"),
    "echoes swapped": (
        {"phasediff": {"EchoTime1": 0.006, "EchoTime2": 0.004}, "magnitude1": None},
        "echo times",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_fieldmap_that_cannot_be_used_fails_the_scan_and_is_named(study, case):
    files, named = BROKEN[case]
    for name, about in files.items():
        study.fmap(name, None if about is None else about | {"IntendedFor": INTENDED["uri"]})
    with pytest.raises(ScanFailed) as caught:
        find_fieldmap(study.bold).load()
    assert named in caught.value.reason
    assert "fmap/sub-01_ses-1_" in caught.value.reason
    assert "preprocess.distortion" in caught.value.remedy


def test_a_truncated_image_fails_the_scan(study):
    path = study.fmap("dir-PA_epi", EPI | {"IntendedFor": INTENDED["uri"]})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ScanFailed, match=r"dir-PA_epi\.nii\.gz: unreadable NIfTI header"):
        find_fieldmap(study.bold).load()


def test_a_constant_image_fails_the_scan(study):
    study.fmap("dir-PA_epi", EPI | {"IntendedFor": INTENDED["uri"]}, np.ones((4, 5, 3)))
    with pytest.raises(ScanFailed, match="dir-PA_epi"):
        find_fieldmap(study.bold).load()


def test_a_sidecar_whose_image_is_lost_fails_the_scan(study):
    path = study.fmap("dir-PA_epi", EPI | {"IntendedFor": INTENDED["uri"]})
    path.unlink()
    with pytest.raises(ScanFailed, match=r"dir-PA_epi\.json.*no image"):
        find_fieldmap(study.bold)


def test_a_damaged_sidecar_fails_the_scan(study):
    path = study.fmap("dir-PA_epi", {})
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text("{")
    with pytest.raises(ScanFailed, match=r"dir-PA_epi\.json"):
        find_fieldmap(study.bold)
