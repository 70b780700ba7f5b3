from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from brainmass_core.atlas import voronoi_atlas
from brainmass_core.interpret.surface import FROM_MNI305, from_mni305, vertex_parcels
from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C, SpaceError
from brainmass_core.spaces.bridges import bridge

EVERY = np.arange(1, 101)


def test_every_parcel_meets_the_surface_of_its_own_hemisphere():
    atlas = voronoi_atlas()
    left, right = (vertex_parcels(atlas.load(), s, EVERY, atlas.space) for s in ("left", "right"))
    names = atlas.labels["name"].to_numpy()
    of_left = {names[i] for i in set(left.tolist()) - {-1}}
    of_right = {names[i] for i in set(right.tolist()) - {-1}}
    assert sum("_LH_" in n for n in of_left) >= 48
    assert sum("_RH_" in n for n in of_right) >= 48
    # vertices of the medial wall lie within a millimetre of the other hemisphere
    assert np.mean(["_LH_" in names[i] for i in left if i >= 0]) > 0.97
    assert np.mean(["_RH_" in names[i] for i in right if i >= 0]) > 0.97


def test_points_of_mni305_lie_where_freesurfer_says_they_do():
    # both examples of FreeSurfer's page on coordinate systems, in both directions
    point = np.array([[10.0, -20.0, 35.0]])
    np.testing.assert_allclose(from_mni305(point, FSL), [[10.695, -18.409, 36.137]], atol=0.005)
    back = np.array([[9.3131, -21.5849, 33.8345]])
    np.testing.assert_allclose(from_mni305(back, FSL), point, atol=0.005)


@pytest.mark.parametrize("space", [ICBM_2009A, ICBM_2009C])
def test_a_vertex_lies_at_one_place_of_the_brain_in_every_space(space: str) -> None:
    points = np.random.default_rng(0).uniform([-60, -90, -30], [60, 60, 60], (200, 3))
    np.testing.assert_array_equal(
        from_mni305(points, space), bridge(FSL, space)(from_mni305(points, FSL))
    )
    assert np.linalg.norm(from_mni305(points, space) - from_mni305(points, FSL), axis=1).max() > 2
    with pytest.raises(SpaceError, match="no bridge"):
        from_mni305(points, "MNIInfant")


def blocks(space: str) -> nib.Nifti1Image:
    """Blocks of 20 mm in FSL's space, each with a label, drawn on a grid of another space.

    In FSL's space their faces are between voxels, so drawing moves none of them.
    """
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-97, -133, -77]
    points = apply_affine(affine, np.indices((99, 117, 99)).reshape(3, -1).T)
    cells = np.floor((bridge(space, FSL)(points) + 200) / 20).astype(np.int32)
    labels = 1 + cells @ np.array([1, 20, 400], dtype=np.int32)
    return nib.Nifti1Image(labels.reshape(99, 117, 99), affine)


@pytest.mark.parametrize("space", [ICBM_2009A, ICBM_2009C])
def test_one_parcellation_looks_the_same_drawn_in_any_space(space: str) -> None:
    index = np.arange(1, 20**3 + 1)
    own = vertex_parcels(blocks(FSL), "left", index, FSL)
    there = vertex_parcels(blocks(space), "left", index, space)
    unbridged = vertex_parcels(blocks(space), "left", index, FSL)
    assert np.mean(own == there) > 0.9
    assert np.mean(own == unbridged) < 0.88


def test_more_of_the_cortex_lies_in_parcels_than_at_the_same_coordinates(shared_data: Path):
    name = "Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm.nii.gz"
    image = nib.load(shared_data / "atlas_schaefer100" / name)
    # an atlas that is moved by the affine, too, has the same coordinates
    moved = nib.Nifti1Image(image.dataobj, FROM_MNI305 @ image.affine)
    for side in ("left", "right"):
        same = vertex_parcels(moved, side, EVERY, FSL)
        found = vertex_parcels(image, side, EVERY, FSL)
        assert np.mean(found >= 0) > np.mean(same >= 0) + 0.01
