"""Names of spaces: which are known, which are ambiguous, and which files state."""

from __future__ import annotations

import pytest

from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C, SpaceError, agreed
from brainmass_core.spaces import space_name as name_of
from brainmass_core.spaces import space_of_file as said_by


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("MNI152NLin6Asym", FSL),
        ("MNI152NLin6ASym", FSL),  # C-PAC's spelling
        ("FSLMNI152", FSL),
        ("mni152nlin2009casym", ICBM_2009C),
        ("MNIInfant", "MNIInfant"),
        ("OurLab3T", "OurLab3T"),
    ],
)
def test_a_space_has_one_name(written: str, name: str) -> None:
    assert name_of(written) == name


@pytest.mark.parametrize("vague", ["MNI152", "mni", "ICBM152", "template", "", "MNI 152", "a_b"])
def test_what_several_templates_share_is_refused_with_the_choices(vague: str) -> None:
    with pytest.raises(SpaceError) as error:
        name_of(vague)
    for choice in (FSL, ICBM_2009A, ICBM_2009C):
        assert choice in str(error.value)


@pytest.mark.parametrize(
    ("file", "space"),
    [
        ("Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm.nii.gz", FSL),
        ("tpl-MNI152NLin2009cAsym_res-02_atlas-Schaefer2018_dseg.nii.gz", ICBM_2009C),
        ("sub-1_task-rest_space-MNI152NLin6ASym_desc-preproc_bold.nii.gz", FSL),
        ("atlas-x_space-MNIInfant_dseg.nii.gz", "MNIInfant"),
        ("MNI152_T1_2mm.nii.gz", FSL),
        ("MNI152_T1_1mm_brain.nii.gz", FSL),
        ("mni_icbm152_nlin_asym_09c_2mm_T1.nii.gz", ICBM_2009C),
        ("mni_icbm152_t1_tal_nlin_sym_09a.nii", ICBM_2009A),
        ("CC200.nii.gz", None),
        ("my_MNI152_atlas.nii.gz", None),
        ("nospace-MNI152NLin6Asym.nii.gz", None),
    ],
)
def test_a_file_says_its_space_by_its_name(file: str, space: str | None) -> None:
    assert said_by(f"/MNI152NLin2009cAsym/space-x/{file}") == space


def test_a_vague_entity_is_refused_with_the_file() -> None:
    with pytest.raises(SpaceError, match=r"/d/a_space-MNI152_dseg\.nii.*several templates"):
        said_by("/d/a_space-MNI152_dseg.nii")


def test_sources_have_to_agree() -> None:
    assert agreed({"a": None, "b": FSL, "c": FSL}, "the atlas", "") == FSL
    with pytest.raises(SpaceError, match="a says MNI152NLin6Asym but b says MNI152NLin2009cAsym"):
        agreed({"a": FSL, "b": ICBM_2009C}, "the atlas", "")
    with pytest.raises(SpaceError, match="set it: MNI152NLin6Asym"):
        agreed({"a": None}, "the atlas", "set it")
