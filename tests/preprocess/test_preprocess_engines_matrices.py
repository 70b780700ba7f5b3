"""Transforms of FSL, AFNI and ANTs, compared with libraries that write them, and with images."""

from __future__ import annotations

import ants
import nibabel as nib
import numpy as np
import pytest
from fsl.data.image import Image
from fsl.transform import flirt, nonlinear
from nibabel.affines import apply_affine
from nitransforms.io.afni import AFNILinearTransformArray
from nitransforms.io.fsl import FSLLinearTransform
from nitransforms.io.itk import ITKLinearTransform
from scipy.ndimage import affine_transform, map_coordinates
from scipy.spatial.transform import Rotation

from brainmass_core.preprocess.engines import antspy
from brainmass_core.preprocess.engines.matrices import (
    Grid,
    afni_to_world,
    displacement,
    flirt_to_world,
    fsl_warp_to_world,
    itk_field_to_world,
    moved_back,
    plain,
)


def affine(size, degrees, shift, handed=1):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, :3] = matrix[:3, :3] @ np.diag([handed * size[0], size[1], size[2]])
    matrix[:3, 3] = shift
    return matrix


def grids(moving_handed, reference_handed):
    moving = Grid((20, 24, 18), affine((3, 2.5, 4), (10, -20, 30), (5, 6, 7), moving_handed))
    reference = Grid((15, 17, 19), affine((2, 2, 2), (0, 5, 0), (-9, 2, 3), reference_handed))
    return moving, reference


def empty(grid):
    return nib.Nifti1Image(np.zeros(grid.shape, np.float32), grid.affine)


WORLD = affine((1.1, 0.9, 1.05), (5, 3, -8), (4, -6, 2))  # reference to moving points
BOTH = pytest.mark.parametrize("handed", [(1, 1), (1, -1), (-1, 1), (-1, -1)])


@BOTH
def test_flirt_matrices_are_read_as_nitransforms_writes_them(handed):
    moving, reference = grids(*handed)
    written = FSLLinearTransform.from_ras(WORLD, empty(moving), empty(reference)).to_string()
    matrix = np.array([row.split() for row in written.splitlines()], dtype=float)
    np.testing.assert_allclose(flirt_to_world(matrix, moving, reference), WORLD, atol=1e-5)


@BOTH
def test_flirt_matrices_are_read_as_fsl_s_own_library_writes_them(handed):
    moving, reference = grids(*handed)
    images = [Image(np.zeros(g.shape, np.float32), xform=g.affine) for g in (moving, reference)]
    matrix = flirt.toFlirt(np.linalg.inv(WORLD), *images, "world", "world")
    np.testing.assert_allclose(flirt_to_world(matrix, moving, reference), WORLD, atol=1e-5)


@BOTH
def test_flirt_resampling_of_an_image_and_ours_agree(handed):
    # FLIRT: x is reversed on reading if the axes are right-handed, then voxels are scaled
    moving, reference = grids(*handed)
    image = smooth_image(moving.shape)
    matrix = affine((1.05, 1, 0.95), (3, -4, 6), (2.5, -3, 4))
    turned = image[::-1] if handed[0] > 0 else image
    scale_m, scale_r = (np.diag([*nib.affines.voxel_sizes(g.affine), 1]) for g in grids(*handed))
    pull = np.linalg.inv(scale_m) @ np.linalg.inv(matrix) @ scale_r
    theirs = affine_transform(turned, pull[:3, :3], pull[:3, 3], reference.shape, order=1)
    theirs = theirs[::-1] if handed[1] > 0 else theirs
    points = apply_affine(reference.affine, np.indices(reference.shape).reshape(3, -1).T)
    voxels = np.linalg.inv(moving.affine) @ flirt_to_world(matrix, moving, reference)
    ours = map_coordinates(image, apply_affine(voxels, points).T, order=1)
    assert np.ptp(theirs) > 0.5
    np.testing.assert_allclose(ours.reshape(reference.shape), theirs, atol=1e-5)


def smooth_image(shape):
    at = np.indices(shape) / np.array(shape)[:, None, None, None]
    return np.sin(5 * at[0] + 1) * np.cos(4 * at[1]) + at[2]


@BOTH
def test_fnirt_fields_lead_where_fsl_s_own_library_says(handed):
    moving, reference = grids(*handed)
    here = apply_affine(reference.affine, np.moveaxis(np.indices(reference.shape), 0, -1))
    there = apply_affine(WORLD, here) + 2 * np.sin(here[..., [1, 2, 0]] / 7)
    images = [Image(np.zeros(g.shape, np.float32), xform=g.affine) for g in (moving, reference)]
    field = nonlinear.DeformationField(
        there,
        src=images[0],
        ref=images[1],
        srcSpace="world",
        refSpace="world",
        defType="absolute",
        xform=reference.affine,
    )
    in_fsl = nonlinear.convertDeformationSpace(field, "fsl", "fsl")
    relative = np.asarray(nonlinear.convertDeformationType(in_fsl, "relative"))
    points = fsl_warp_to_world(relative, moving, reference)
    np.testing.assert_allclose(points, there, atol=1e-5)


def test_affine_and_displacement_together_lead_to_the_points():
    _, reference = grids(1, -1)
    here = apply_affine(reference.affine, np.moveaxis(np.indices(reference.shape), 0, -1))
    there = apply_affine(WORLD, here) + 2 * np.sin(here / 7)
    field = displacement(there, WORLD, reference)
    np.testing.assert_allclose(apply_affine(WORLD, here + field), there, atol=1e-4)


def test_afni_matrices_are_read_as_nitransforms_writes_them(tmp_path):
    motion = np.stack([affine((1, 1, 1), (k, -k, 2 * k), (k, 2 * k, -k)) for k in range(1, 5)])
    path = tmp_path / "motion.aff12.1D"
    path.write_text(AFNILinearTransformArray.from_ras(motion).to_string())
    found = afni_to_world(np.loadtxt(path, ndmin=2))
    np.testing.assert_allclose(found, motion, atol=1e-4)  # six digits in the file


@pytest.mark.parametrize("handed", [1, -1])
def test_motion_found_on_the_plain_grid_is_that_of_the_tilted_one(handed):
    grid = Grid((20, 24, 18), affine((3, 2.5, 4), (10, -20, 30), (5, 6, 7), handed))
    truth = affine((1, 1, 1), (2, -3, 1), (1.5, -0.5, 2))
    # a program only has the voxels: which voxel of the volume is under which
    between_voxels = np.linalg.inv(grid.affine) @ truth @ grid.affine
    straight = plain(grid).affine
    seen = straight @ between_voxels @ np.linalg.inv(straight)
    np.testing.assert_allclose(moved_back(seen[None], grid)[0], truth, atol=1e-9)
    if handed > 0:  # a transform that is rigid for one is rigid for the other
        np.testing.assert_allclose(seen[:3, :3] @ seen[:3, :3].T, np.eye(3), atol=1e-9)


def test_the_plain_grid_has_no_tilt_and_the_same_voxels():
    grid = Grid((20, 24, 18), affine((3, 2.5, 4), (10, -20, 30), (5, 6, 7), -1))
    straight = plain(grid)
    np.testing.assert_allclose(straight.affine[:3, :3], np.diag([3, 2.5, 4]))
    middle = apply_affine(straight.affine, (np.array(grid.shape) - 1) / 2)
    np.testing.assert_allclose(middle, 0, atol=1e-12)


def test_itk_affines_are_read_as_nitransforms_writes_them(tmp_path):
    path = tmp_path / "0GenericAffine.mat"
    ITKLinearTransform.from_ras(WORLD).to_filename(path)
    np.testing.assert_allclose(antspy.read_affine(str(path)), WORLD, atol=1e-6)


def test_itk_affines_lead_where_itk_leads(tmp_path):
    transform = ants.create_ants_transform(
        transform_type="AffineTransform",
        matrix=WORLD[:3, :3],
        translation=[3.0, -2.0, 5.0],
        center=[10.0, -20.0, 30.0],
    )
    path = str(tmp_path / "0GenericAffine.mat")
    ants.write_transform(transform, path)
    point = np.array([12.0, 34.0, -5.0])
    flip = np.array([-1, -1, 1])
    theirs = flip * np.array(transform.apply_to_point(tuple(flip * point)))
    np.testing.assert_allclose(apply_affine(antspy.read_affine(path), point), theirs, atol=1e-5)


def test_itk_fields_lead_where_itk_leads(tmp_path):
    grid = Grid((8, 9, 7), affine((3, 3, 3), (0, 0, 0), (-11, -12, -9)))
    vectors = np.random.default_rng(0).normal(0, 2, (*grid.shape, 3)).astype(np.float32)
    field = ants.from_numpy(
        vectors, origin=[11.0, 12.0, -9.0], spacing=[3.0] * 3, direction=np.diag([-1, -1, 1]),
        has_components=True,
    )  # fmt: skip
    path = str(tmp_path / "1Warp.nii.gz")
    ants.image_write(field, path)
    transform = ants.transform_from_displacement_field(field)
    ours = itk_field_to_world(np.asarray(nib.load(path).dataobj))
    assert ours.shape == (*grid.shape, 3)
    flip = np.array([-1, -1, 1])
    for voxel in [(1, 2, 3), (6, 5, 4), (3, 7, 1)]:
        point = apply_affine(grid.affine, voxel)
        theirs = flip * np.array(transform.apply_to_point(tuple(flip * point)))
        np.testing.assert_allclose(point + ours[voxel], theirs, atol=1e-4)
