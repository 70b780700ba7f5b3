"""Bridges between spaces: shipped fields, compared with each other, with the templates and with
TemplateFlow.
"""

from __future__ import annotations

import hashlib
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine
from nilearn import datasets
from scipy.ndimage import map_coordinates

from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C, SpaceError
from brainmass_core.spaces import bridges as bridges_module
from brainmass_core.spaces.bridges import bridge
from brainmass_core.spaces.shipped import DATA, about_shipped
from brainmass_core.spaces.templateflow import template_files
from brainmass_core.spaces.warps import Warp, from_file, to_bytes

SPACES = (FSL, ICBM_2009A, ICBM_2009C)
PAIRS = list(permutations(SPACES, 2))


@pytest.fixture(scope="module")
def inside() -> np.ndarray:
    """Points of the brain, 6 mm apart, including the edge of the cortex."""
    mask = datasets.load_mni152_brain_mask(resolution=2)
    return apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj)[::3, ::3, ::3]) * 3)


@pytest.fixture(autouse=True)
def no_templateflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "templateflow"))
    return tmp_path / "templateflow"


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_there_and_back_is_where_one_was(inside: np.ndarray, source: str, target: str) -> None:
    there = bridge(source, target)(inside)
    back = bridge(target, source)(there)
    assert np.linalg.norm(back - inside, axis=1).max() < 0.2
    moved = np.linalg.norm(there - inside, axis=1)
    assert 0.8 < np.median(moved) < 3 and moved.max() < 10  # noqa: PT018


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_bridges_are_smooth_and_fold_nowhere(inside: np.ndarray, source: str, target: str) -> None:
    lead, h = bridge(source, target), 1.0
    around = np.concatenate(
        [inside, 1.6 * inside, 4 * inside]
    )  # also in the region where the field fades, and beyond
    columns = [(lead(around + h * e) - lead(around - h * e)) / (2 * h) for e in np.eye(3)]
    volume = np.linalg.det(np.stack(columns, axis=-1))
    assert volume.min() > 0.3
    assert volume.max() < 3


def test_all_ways_lead_to_the_same_place(inside: np.ndarray) -> None:
    straight = bridge(ICBM_2009A, ICBM_2009C)(inside)
    over = bridge(FSL, ICBM_2009C)(bridge(ICBM_2009A, FSL)(inside))
    np.testing.assert_allclose(straight, over)


@pytest.mark.parametrize("space", [*SPACES, "MNIInfant"])
def test_within_a_space_nothing_moves(inside: np.ndarray, space: str) -> None:
    lead = bridge(space, space)
    assert lead(inside) is inside
    assert lead.origin == "identity"


def test_far_from_the_brain_the_affine_holds_alone() -> None:
    lead, far = bridge(ICBM_2009C, FSL), np.array([[150.0, 0, 0], [0, 190, 0], [0, 0, -190]])
    middle = (lead(1.1 * far) + lead(far)) / 2
    np.testing.assert_allclose(middle, lead(1.05 * far), atol=1e-9)
    assert np.linalg.norm(lead(far) - far, axis=1).max() < 12


def test_a_pair_without_a_bridge_is_refused_with_the_remedies() -> None:
    with pytest.raises(SpaceError) as error:
        bridge("MNIInfant", FSL)
    for part in (*SPACES, "tpl-MNIInfant_from-MNI152NLin6Asym_mode-image_xfm.h5", "TEMPLATEFLOW_"):
        assert part in str(error.value)
    with pytest.raises(SpaceError, match="several templates"):
        bridge("MNI152", FSL)


def test_shipped_fields_are_those_that_were_measured() -> None:
    about = about_shipped()
    assert len(about["fields"]) == 4
    for name, known in about["fields"].items():
        content = (DATA / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == known["sha256"]
        warp = from_file(DATA / name)
        assert list(warp.field.shape[:3]) == known["shape"]
        np.testing.assert_array_equal(warp.grid[:3, 3], known["first_node_mm"])
        edge = [np.abs(warp.field[s]).max() for s in ((0,), (-1,), (slice(None), slice(None), -1))]
        assert max(edge) < 0.02
    assert all(v["there_and_back_mm"][1] < 0.2 for v in about["accuracy"].values())


def test_a_damaged_field_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in DATA.glob("bridge*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    name = next(iter(about_shipped()["fields"]))
    content = bytearray((tmp_path / name).read_bytes())
    content[1000] ^= 1
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(bridges_module, "DATA", tmp_path)
    bridges_module._bridge.cache_clear()
    with pytest.raises(SpaceError, match=r"found sha256 .* install brainmass again"):
        bridge(ICBM_2009A, FSL)
    bridges_module._bridge.cache_clear()


def test_a_warp_comes_back_from_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    affine, grid = np.diag([1.1, 0.9, 1.0, 1]), np.diag([4.0, 4, 4, 1])
    warp = Warp(affine, rng.normal(0, 2, (6, 7, 8, 3)), grid)
    (tmp_path / "w").write_bytes(to_bytes(warp))
    assert to_bytes(warp) == to_bytes(warp)
    found = from_file(tmp_path / "w")
    np.testing.assert_allclose(found.field, warp.field, atol=2**-7 + 1e-6)
    np.testing.assert_array_equal(found.affine, affine)
    points = rng.uniform(4, 20, (20, 3))
    np.testing.assert_allclose(Warp(affine, 0 * warp.field, grid)(points), points * [1.1, 0.9, 1])


def test_grey_matter_of_fsl_and_2009c_agrees_better_over_the_bridge(shared_data: Path) -> None:
    folder = shared_data / "templates_mni"
    tissue = nib.load(folder / "MNI152_T1_2mm_Brain_FAST_seg.nii.gz")
    grey = nib.load(folder / "mni_icbm152_nlin_asym_09c_2mm_tpm_gm.nii.gz")
    points = apply_affine(tissue.affine, np.argwhere(np.asarray(tissue.dataobj) > 0))
    own = np.asarray(tissue.dataobj)[np.asarray(tissue.dataobj) > 0] == 2
    assert overlap(own, grey, bridge(FSL, ICBM_2009C)(points)) > overlap(own, grey, points) + 0.04


def test_grey_matter_of_fsl_and_nilearn_agrees_better_over_the_bridge(shared_data: Path) -> None:
    folder = shared_data / "templates_mni"
    tissue = nib.load(folder / "MNI152_T1_2mm_Brain_FAST_seg.nii.gz")
    grey = datasets.load_mni152_gm_template(resolution=2)
    points = apply_affine(tissue.affine, np.argwhere(np.asarray(tissue.dataobj) > 0))
    own = np.asarray(tissue.dataobj)[np.asarray(tissue.dataobj) > 0] == 2
    assert overlap(own, grey, bridge(FSL, ICBM_2009A)(points)) > overlap(own, grey, points) + 0.04


def overlap(own: np.ndarray, grey: nib.Nifti1Image, points: np.ndarray) -> float:
    voxels = apply_affine(np.linalg.inv(grey.affine), points)
    there = map_coordinates(np.asarray(grey.dataobj, np.float32), voxels.T, order=1) > 0.5
    return 2 * (own & there).sum() / (own.sum() + there.sum())


def test_parcels_carried_to_2009c_meet_those_of_an_independent_version(shared_data: Path) -> None:
    folder = shared_data / "atlas_schaefer100"
    fsl = nib.load(folder / "Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm.nii.gz")
    other = nib.load(folder / "xcpEngine_schaefer100x7_MNI152NLin2009c_2mm.nii.gz")
    expected = np.asarray(other.dataobj).astype(int)
    points = apply_affine(other.affine, np.indices(expected.shape).reshape(3, -1).T)
    labels = np.asarray(fsl.dataobj).astype(int)

    def dice(where: np.ndarray) -> np.ndarray:
        voxels = np.rint(apply_affine(np.linalg.inv(fsl.affine), where)).astype(int)
        inside = ((voxels >= 0) & (voxels < labels.shape)).all(axis=1)
        found = np.zeros(len(points), int)
        found[inside] = labels[tuple(voxels[inside].T)]
        both = np.bincount(found[found == expected.ravel()], minlength=101)
        sizes = np.bincount(found, minlength=101) + np.bincount(expected.ravel(), minlength=101)
        return (2 * both / sizes)[1:]

    unchanged, carried = dice(points), dice(bridge(ICBM_2009C, FSL)(points))
    assert carried.mean() > unchanged.mean() + 0.01


def composite(path: Path, source: str, target: str) -> tuple[Path, object]:
    """A transform in the form of TemplateFlow: an affine and a field, in ITK's order and frame."""
    sitk = pytest.importorskip("SimpleITK")
    affine = sitk.AffineTransform(3)
    affine.SetMatrix([1.02, 0.01, 0, 0, 0.97, 0.02, 0, 0, 1.01])
    affine.SetTranslation([1.0, -2.0, 3.0])
    rng = np.random.default_rng(3)
    nodes = np.repeat(np.repeat(np.repeat(rng.normal(0, 2, (5, 5, 5, 3)), 2, 0), 2, 1), 2, 2)
    image = sitk.GetImageFromArray(nodes, isVector=True)
    image.SetOrigin([-60.0, -60.0, -60.0])
    image.SetSpacing([13.0, 13.0, 13.0])
    both = sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(image)])
    file = path / f"tpl-{source}" / f"tpl-{source}_from-{target}_mode-image_xfm.h5"
    file.parent.mkdir(parents=True)
    sitk.WriteTransform(both, str(file))
    return file, sitk.ReadTransform(str(file))


@pytest.mark.study  # loads ANTs
def test_transforms_of_templateflow_lead_where_itk_leads(no_templateflow: Path) -> None:
    file, truth = composite(no_templateflow, "MNIInfant", FSL)
    lead = bridge("MNIInfant", FSL)
    assert lead.file == file
    points = np.random.default_rng(1).uniform(-50, 50, (40, 3))
    flip = np.array([-1, -1, 1])
    expected = np.array([truth.TransformPoint((p * flip).tolist()) for p in points]) * flip
    np.testing.assert_allclose(lead(points), expected, atol=1e-3)
    with pytest.raises(SpaceError, match="no bridge"):
        bridge(FSL, "MNIInfant")  # the file has one direction


def test_what_is_shipped_goes_before_what_a_cache_holds(no_templateflow: Path) -> None:
    folder = no_templateflow / f"tpl-{FSL}"
    folder.mkdir(parents=True)
    (folder / f"tpl-{FSL}_from-{ICBM_2009C}_mode-image_xfm.h5").write_bytes(b"x")
    assert bridge(FSL, ICBM_2009C).origin == "brainmass"


def test_templates_of_templateflow_are_taken_at_the_size_that_is_needed(
    no_templateflow: Path,
) -> None:
    folder = no_templateflow / f"tpl-{FSL}"
    folder.mkdir(parents=True)
    assert template_files(FSL, 2.0, [no_templateflow]) is None
    for size in ("01", "02"):
        for end in ("T1w", "desc-brain_mask"):
            (folder / f"tpl-{FSL}_res-{size}_{end}.nii.gz").write_bytes(b"x")
    names = [template_files(FSL, mm, [no_templateflow])[0].name for mm in (1.0, 2.0, 3.0)]
    assert [n.split("_")[1] for n in names] == ["res-01", "res-02", "res-02"]
    (folder / f"tpl-{FSL}_res-02_T1w.nii.gz").write_bytes(b"")  # not fetched by datalad yet
    assert "res-01" in template_files(FSL, 2.0, [no_templateflow])[0].name
