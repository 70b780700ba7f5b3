"""The template that a configuration selects, its space, and the position of its tissue priors."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from brainmass_core import preprocess
from brainmass_core.config import parse_config
from brainmass_core.config.preprocess import Preprocess
from brainmass_core.preprocess.anatomical.template import (
    PACKAGED_SPACE,
    TemplateError,
    chosen_template,
    load_template,
    template_of,
)
from brainmass_core.preprocess.grids import Volume
from brainmass_core.spaces import FSL, ICBM_2009C, SpaceError


@pytest.fixture(autouse=True)
def templateflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of TemplateFlow."""
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "templateflow"))
    return tmp_path / "templateflow"


def image(path: Path) -> Path:
    """Any image: a brain of 10 voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.zeros((12, 12, 12), np.float32)
    data[1:11, 1:11, 1:11] = np.random.default_rng(0).uniform(0.6, 1, (10, 10, 10))
    nib.save(nib.Nifti1Image(data, np.diag([4.0, 4, 4, 1])), path)
    return path


def test_the_packaged_template_is_the_default() -> None:
    for settings in (Preprocess(), Preprocess(template=None), Preprocess(template="packaged")):
        found = chosen_template(settings)
        assert (found.path, found.mask, found.space) == (None, None, PACKAGED_SPACE)


@pytest.mark.parametrize("name", [FSL, ICBM_2009C])
def test_a_name_is_looked_up_in_templateflow(templateflow: Path, name: str) -> None:
    start = templateflow / f"tpl-{name}" / f"tpl-{name}_res-02_"
    t1w = image(Path(f"{start}T1w.nii.gz"))
    mask = Path(shutil.copy(t1w, f"{start}desc-brain_mask.nii.gz"))
    found = chosen_template(Preprocess(template=name))
    assert (found.path, found.mask, found.space) == (t1w, mask, name)


def test_a_name_that_is_not_there_is_an_error_with_the_remedies(templateflow: Path) -> None:
    with pytest.raises(TemplateError) as error:
        chosen_template(Preprocess(template=FSL))
    for part in (str(templateflow), "res-02_T1w.nii.gz", "TEMPLATEFLOW_HOME", "packaged", "path"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("file", "given", "space"),
    [
        ("tpl-MNI152NLin6Asym_res-02_T1w.nii.gz", None, FSL),
        ("MNI152_T1_2mm.nii.gz", None, FSL),
        ("MNI152_T1_2mm.nii.gz", "FSLMNI152", FSL),
        ("study.nii.gz", "OurChildren", "OurChildren"),
    ],
)
def test_a_path_says_its_space_or_the_configuration_does(
    tmp_path: Path, file: str, given: str | None, space: str
) -> None:
    path = image(tmp_path / file)
    settings = Preprocess(template=path, template_mask=path, template_space=given)
    assert chosen_template(settings).space == space


def test_a_path_of_which_nobody_says_it_is_refused(tmp_path: Path) -> None:
    path = image(tmp_path / "avg.nii.gz")
    with pytest.raises(TemplateError, match=r"avg.*template_space.*MNI152NLin6Asym"):
        chosen_template(Preprocess(template=path, template_mask=path))
    path = image(tmp_path / "tpl-MNI152NLin6Asym_T1w.nii.gz")
    with pytest.raises(TemplateError, match="2009cAsym but its name says MNI152NLin6Asym"):
        chosen_template(Preprocess(template=path, template_space=ICBM_2009C))


def test_knobs_of_a_path_go_with_no_other_template(tmp_path: Path) -> None:
    path = image(tmp_path / "a.nii.gz")
    for knob in ({"template_mask": path}, {"template_space": FSL}):
        with pytest.raises(ValidationError, match="includes its own"):
            Preprocess(**knob)
        with pytest.raises(ValidationError, match="includes its own"):
            Preprocess(template=FSL, **knob)
    with pytest.raises(ValidationError, match="several templates share"):
        Preprocess(template=path, template_space="MNI152")
    with pytest.raises(ValidationError, match="template"):
        Preprocess(template="MNI152NLin2009bAsym")  # neither a known name nor a file


def test_priors_need_a_bridge_to_the_template(tmp_path: Path) -> None:
    path = image(tmp_path / "a.nii.gz")
    settings = Preprocess(template=path, template_mask=path, template_space="OurChildren")
    with pytest.raises(TemplateError, match="no bridge from OurChildren to MNI152NLin2009aSym"):
        template_of(settings)


def test_an_atlas_that_cannot_be_reached_stops_the_stage_before_any_scan(tmp_path: Path) -> None:
    data = {"kind": "bids", "role": "internal", "path": str(tmp_path)}
    over = {"atlas": {"name": "mine", "n_rois": 3, "space": "MNIInfant"}}
    config = parse_config({"datasets": {"d": data}, **over})
    with pytest.raises(SpaceError, match="no bridge from MNIInfant to MNI152NLin2009aSym"):
        preprocess._check_bridge(config, PACKAGED_SPACE)
    preprocess._check_bridge(config, "MNIInfant")


def test_priors_of_another_template_fit_its_tissue_better_over_the_bridge(
    shared_data: Path,
) -> None:
    folder = shared_data / "templates_mni"
    files = [folder / f"MNI152_T1_2mm{end}.nii.gz" for end in ("", "_brain_mask")]
    tissue = nib.load(folder / "MNI152_T1_2mm_Brain_FAST_seg.nii.gz")
    segmented = Volume(np.asarray(tissue.dataobj, np.float32), tissue.affine)

    def right(space: str) -> float:
        """Fraction of voxels whose most probable tissue is that of FSL's segmentation."""
        template = load_template(*files, 3.0, space)
        inside = template.brain.points()[template.mask.ravel()]
        found = np.rint(segmented.at(inside, order=0)).astype(int)
        likeliest = template.priors[template.mask].argmax(axis=1)
        return float((likeliest == found - 1)[found > 0].mean())  # 1 CSF, 2 grey, 3 white

    assert right(FSL) > right(PACKAGED_SPACE) + 0.03
