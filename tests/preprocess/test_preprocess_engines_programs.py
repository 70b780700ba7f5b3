"""Engines from end to end, with programs that write the files of the real ones."""

from __future__ import annotations

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine
from nitransforms.io.afni import AFNILinearTransform
from nitransforms.io.fsl import FSLLinearTransform
from nitransforms.io.itk import ITKLinearTransform
from preprocess_programs import Programs, install
from scipy.spatial.transform import Rotation

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.engines import engine
from brainmass_core.preprocess.engines.distortion import encoding
from brainmass_core.preprocess.engines.fsl import slicetimer_fractions
from brainmass_core.preprocess.functional.slice_timing import correct_slice_timing
from brainmass_core.preprocess.grids import Volume

pytestmark = pytest.mark.study  # programs are processes

T_R = 2.0
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def rigid(degrees, shift):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


TILTED = rigid((8, -15, 20), (-30, 12, 40)) @ np.diag([-3, 3, 4, 1.0])
STRAIGHT = np.array([[2.0, 0, 0, -20], [0, 2, 0, -24], [0, 0, 2, -16], [0, 0, 0, 1]])
MOTION = np.stack([rigid((k, -k, 0.5 * k), (0.3 * k, -0.2 * k, k)) for k in range(4)])


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Programs:
    return install(tmp_path / "programs", monkeypatch)


@pytest.fixture
def bold() -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 9, (6, 7, 5, 4)).astype(np.float32)


def image(affine=STRAIGHT, shape=(20, 24, 16), seed=0) -> Volume:
    return Volume(np.random.default_rng(seed).uniform(1, 9, shape).astype(np.float32), affine)


def template() -> SimpleNamespace:
    brain = image(np.diag([2.5, 2.5, 2.5, 1.0]), (12, 14, 10), 3)
    mask = np.ones(brain.data.shape, dtype=bool)
    return SimpleNamespace(brain=brain, mask=mask, near_brain=lambda mm: mask)


def nifti(volume: Volume):
    return nib.Nifti1Image(volume.data, volume.affine)


def flirt_file(programs, name, world, moving, reference):
    """A matrix as FLIRT writes it, for a transform from reference to moving points."""
    text = FSLLinearTransform.from_ras(world, nifti(moving), nifti(reference)).to_string()
    return programs.text(name, text)


def mcflirt(programs: Programs, data: np.ndarray, affine: np.ndarray) -> None:
    volume = Volume(data[..., 0], affine)
    files = {
        f"{{-out}}.mat/MAT_{t:04d}": flirt_file(programs, f"MAT{t}", motion, volume, volume)
        for t, motion in enumerate(MOTION)
    }
    files["{-out}"] = programs.image("mcf.nii.gz", data, affine)
    programs.says("mcflirt", files)


def volreg(programs: Programs, data: np.ndarray, affine: np.ndarray) -> None:
    """Input of 3dvolreg: the voxels, on the grid that it was given."""
    size = np.diag([*np.linalg.norm(affine[:3, :3], axis=0), 1.0])
    seen = [size @ np.linalg.inv(affine) @ m @ affine @ np.linalg.inv(size) for m in MOTION]
    middle = np.eye(4)
    middle[:3, 3] = -size[:3, :3] @ ((np.array(data.shape[:3]) - 1) / 2)
    seen = [middle @ m @ np.linalg.inv(middle) for m in seen]
    lines = [str(AFNILinearTransform.from_ras(m)) for m in seen]
    header = "# 3dvolreg matrices (DICOM-to-DICOM, row-by-row):\n"
    matrices = programs.text("found.1D", header + "\n".join(lines) + "\n")
    other = programs.text("other.1D", "0 0 0\n")
    moved = programs.image("moved.nii.gz", data, affine)
    programs.says(
        "3dvolreg",
        {"{-1Dmatrix_save}": matrices, "{-1Dfile}": other, "{-maxdisp1D}": other,
         "{-prefix}": moved},
    )  # fmt: skip


@pytest.mark.parametrize("affine", [TILTED, TILTED @ np.diag([-1, 1, 1, 1.0]), STRAIGHT])
@pytest.mark.parametrize(("name", "play"), [("fsl", mcflirt), ("afni", volreg)])
def test_motion_is_what_the_program_found(programs, bold, name, play, affine):
    play(programs, bold, affine)
    found = engine("motion", name)(bold, affine, bold[..., 0])
    np.testing.assert_allclose(found, MOTION, atol=2e-3)  # six digits in AFNI's file
    assert programs.left_behind() == []


@pytest.mark.parametrize(("name", "program"), [("fsl", "mcflirt"), ("afni", "3dvolreg")])
def test_a_program_that_fails_is_a_failed_scan_with_its_last_words(programs, bold, name, program):
    programs.says(program, stderr="reading...\nERROR: the image is upside down\n", code=3)
    with pytest.raises(ScanFailed, match=rf"{program} ended with code 3.*upside down") as error:
        engine("motion", name)(bold, STRAIGHT, bold[..., 0])
    assert error.value.step == "motion"
    assert "preprocess.engines.motion to embedded" in error.value.remedy
    assert programs.left_behind() == []
    assert "brainmass-engine-" not in error.value.reason  # no name that differs between runs


def test_a_program_that_writes_its_files_and_then_fails_has_failed(programs, bold):
    mcflirt(programs, bold, STRAIGHT)
    plan = programs.folder / "plan.json"
    plan.write_text(plan.read_text().replace('"code": 0', '"code": 1'))
    with pytest.raises(ScanFailed, match="mcflirt ended with code 1"):
        engine("motion", "fsl")(bold, STRAIGHT, bold[..., 0])


def test_a_program_that_writes_nothing_has_failed(programs, bold):
    programs.says("mcflirt")
    with pytest.raises(ScanFailed, match=r"mcflirt ended with code 0.*No such file"):
        engine("motion", "fsl")(bold, STRAIGHT, bold[..., 0])
    assert programs.left_behind() == []


def test_a_program_that_is_not_there_is_named(programs, bold, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ScanFailed, match=r"mcflirt could not be run.*[Nn]o command"):
        engine("motion", "fsl")(bold, STRAIGHT, bold[..., 0])


def test_programs_get_one_thread_and_our_file_type(programs, bold):
    mcflirt(programs, bold, STRAIGHT)
    volreg(programs, bold, STRAIGHT)
    for name in ("fsl", "afni"):
        engine("motion", name)(bold, STRAIGHT, bold[..., 0])
    for call in programs.calls:
        assert call["environ"]["FSLOUTPUTTYPE"] == "NIFTI_GZ"
        assert call["environ"]["OMP_NUM_THREADS"] == "1"
        assert call["environ"]["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "1"
        assert call["environ"]["AFNI_DONT_LOGFILE"] == "YES"
        assert call["environ"]["TMPDIR"] == call["cwd"]
        assert "brainmass-engine-" in call["cwd"]


def test_sheared_images_are_refused_before_anything_runs(programs, bold):
    sheared = STRAIGHT.copy()
    sheared[0, 1] = 0.4
    with pytest.raises(ScanFailed, match="not at right angles"):
        engine("motion", "fsl")(bold, sheared, bold[..., 0])
    assert programs.calls == []


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slicetimer_gets_the_slices_along_the_third_axis(programs, bold, axis):
    times = np.linspace(0, 1.5, bold.shape[axis])
    turned = np.swapaxes(bold, axis, 2)
    made = programs.image("timed.nii.gz", turned * 2, np.eye(4))
    programs.says("slicetimer", {"{--out}": made})
    timed = engine("slice_timing", "fsl")(bold, STRAIGHT, times, T_R, axis)
    np.testing.assert_array_equal(timed, bold * 2)
    assert programs.left_behind() == []


def test_fractions_of_slicetimer_give_the_shift_of_the_embedded_engine():
    times = np.array([0.0, 0.5, 1.0, 1.5])
    moment, frequency = np.arange(60) * T_R, 2 * np.pi / 40
    series = np.sin(frequency * (moment + times[:, None]))
    embedded = correct_slice_timing(series[None, None].astype(np.float32), times, T_R)[0, 0]
    # slicetimer reads the series at t + fraction - 0.5 volumes
    later = (slicetimer_fractions(times, T_R) - 0.5)[:, None] * T_R
    theirs = np.sin(frequency * (moment + times[:, None] + later))
    assert np.ptp(later) > 1
    np.testing.assert_allclose(theirs[:, 5:-5], embedded[:, 5:-5], atol=0.01)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_tshift_gets_seconds_and_the_mean_time(programs, bold, axis):
    times = np.linspace(0, 1.5, bold.shape[axis])
    turned = np.swapaxes(bold, axis, 2)
    programs.says("3dTshift", {"{-prefix}": programs.image("t.nii.gz", turned * 2, np.eye(4))})
    timed = engine("slice_timing", "afni")(bold, TILTED, times, T_R, axis)
    np.testing.assert_array_equal(timed, bold * 2)
    argv = programs.calls[0]["argv"]
    assert float(argv[argv.index("-tzero") + 1]) == pytest.approx(times.mean())
    assert argv[argv.index("-TR") + 1] == "2s"
    assert programs.left_behind() == []


def test_despiking_gives_back_what_3ddespike_wrote(programs, bold):
    programs.says("3dDespike", {"{-prefix}": programs.image("d.nii.gz", bold + 1, np.eye(4))})
    np.testing.assert_array_equal(engine("despike", "afni")(bold, TILTED, T_R), bold + 1)


def test_an_output_of_another_shape_is_refused(programs, bold):
    short = programs.image("d.nii.gz", bold[..., :2], np.eye(4))
    programs.says("3dDespike", {"{-prefix}": short})
    with pytest.raises(ScanFailed, match=r"found shape \(6, 7, 5, 2\), expected \(6, 7, 5, 4\)"):
        engine("despike", "afni")(bold, TILTED, T_R)


def box(shape):
    mask = np.zeros(shape, dtype=bool)
    mask[4:-4, 5:-5, 3:-3] = True
    return mask


@pytest.mark.parametrize(
    ("name", "program", "file"),
    [
        ("fsl", "bet", "{2}"),
        ("afni", "3dSkullStrip", "{-prefix}"),
        ("ants", "antsBrainExtraction.sh", "{-o}BrainExtractionMask.nii.gz"),
    ],
)
def test_brain_masks_come_back_on_the_grid_of_the_head(programs, name, program, file):
    head = image(TILTED)
    mask = box(head.data.shape)
    # written with reversed axes, as some programs do
    turned = np.ascontiguousarray(mask[::-1, :, ::-1]).astype(np.float32)
    affine = TILTED.copy()
    affine[:3, 3] = apply_affine(TILTED, [head.data.shape[0] - 1, 0, head.data.shape[2] - 1])
    affine[:3, [0, 2]] *= -1
    made = programs.image("mask.nii.gz", turned, affine)
    if name == "fsl":
        programs.says("bet", {"{2}": made, "head_brain_mask.nii.gz": made})
    elif name == "ants":
        programs.says("antsRegistration")  # where nipype looks for the folder of ANTs
        brain = {"{-o}BrainExtractionBrain.nii.gz": made}
        programs.says(program, {file: made} | brain)
    else:
        programs.says(program, {file: made})
    found = engine("brain_extraction", name)(head, template())
    assert found.dtype == bool
    np.testing.assert_array_equal(found, mask)
    assert programs.left_behind() == []


def test_an_empty_brain_mask_is_a_failed_scan(programs):
    head = image()
    made = programs.image("mask.nii.gz", np.zeros(head.data.shape, np.float32), STRAIGHT)
    programs.says("bet", {"{2}": made, "head_brain_mask.nii.gz": made})
    with pytest.raises(ScanFailed, match="no voxel inside the mask"):
        engine("brain_extraction", "fsl")(head, template())


@pytest.mark.parametrize("name", ["fsl", "ants"])
def test_tissues_come_back_as_csf_grey_white_inside_the_mask(programs, name):
    t1w = image()
    mask = box(t1w.data.shape)
    layers = np.random.default_rng(1).dirichlet([1, 1, 1], t1w.data.shape).astype(np.float32)
    made = [programs.image(f"layer{k}.nii.gz", layers[..., k], STRAIGHT) for k in range(3)]
    if name == "fsl":
        files = {f"{{-o}}_pve_{k}.nii.gz": made[k] for k in range(3)}
        programs.says("fast", files | {"{-o}_seg.nii.gz": made[0]})
    else:
        files = {f"posterior{k + 1:02d}.nii.gz": made[k] for k in range(3)}
        programs.says("Atropos", files | {"classes.nii.gz": made[0]})
    found = engine("segmentation", name)(t1w, mask, layers)
    np.testing.assert_allclose(found, layers * mask[..., None])


def test_bias_correction_gives_back_what_n4_wrote(programs):
    t1w = image(TILTED)
    made = programs.image("n4.nii.gz", t1w.data * 3, TILTED)
    programs.says("N4BiasFieldCorrection", {"{--output}": made})
    found = engine("bias_correction", "ants")(t1w, box(t1w.data.shape))
    np.testing.assert_array_equal(found, t1w.data * 3)


WORLD = rigid((5, 3, -8), (4, -6, 2)) @ np.diag([1.1, 0.9, 1.05, 1])


def test_fnirt_s_field_leads_from_template_to_t1w(programs):
    t1w, target = image(TILTED), template()
    mask, brain = box(t1w.data.shape), target.brain
    matrix = flirt_file(programs, "flirt.mat", WORLD, t1w, brain)
    picture = programs.image("any.nii.gz", brain.data, brain.affine)
    # FSL's mm: scaled voxels, x reversed for the template, whose axes are right-handed
    indices = np.moveaxis(np.indices(brain.data.shape), 0, -1)
    there = apply_affine(WORLD, apply_affine(brain.affine, indices)) + np.sin(indices / 3)
    size = np.array([2.5, 2.5, 2.5])
    here_fsl = (np.array([11, 0, 0]) - indices * [1, -1, -1]) * size
    there_fsl = apply_affine(np.linalg.inv(TILTED), there) * [3, 3, 4]
    assert np.linalg.det(TILTED) < 0
    relative = (there_fsl - here_fsl).astype(np.float32)
    field = programs.image("field.nii.gz", relative, brain.affine)
    programs.says("flirt", {"{-omat}": matrix, "{-out}": picture})
    programs.says("fnirt", {"{--cout}": picture, "{--iout}": picture})
    programs.says("convertwarp", {"{--out}": field})
    affine, displaced = engine("normalisation", "fsl")(t1w, mask, target, "syn")
    np.testing.assert_allclose(affine, WORLD, atol=1e-5)
    points = apply_affine(brain.affine, indices)
    np.testing.assert_allclose(apply_affine(affine, points + displaced), there, atol=1e-4)
    assert programs.left_behind() == []


def test_an_affine_normalisation_calls_flirt_alone(programs):
    t1w, target = image(TILTED), template()
    matrix = flirt_file(programs, "flirt.mat", WORLD, t1w, target.brain)
    programs.says("flirt", {"{-omat}": matrix, "{-out}": matrix})
    found = engine("normalisation", "fsl")(t1w, box(t1w.data.shape), target, "affine")
    np.testing.assert_allclose(found[0], WORLD, atol=1e-5)
    assert found[1] is None
    assert [c["name"] for c in programs.calls] == ["flirt"]


def itk_file(programs, world):
    path = programs.folder / "found.mat"
    ITKLinearTransform.from_ras(world).to_filename(path)
    return path


def test_warps_of_antsregistration_lead_from_template_to_t1w(programs):
    t1w, target = image(TILTED), template()
    shape = target.brain.data.shape
    vectors = np.random.default_rng(2).normal(0, 2, (*shape, 1, 3)).astype(np.float32)
    warp = programs.image("warp.nii.gz", vectors, target.brain.affine)
    names = ("1Warp", "1InverseWarp")
    files = {f"{{--output}}{n}.nii.gz": warp for n in names}
    files["{--output}0GenericAffine.mat"] = itk_file(programs, WORLD)
    programs.says("antsRegistration", files)
    found = engine("normalisation", "ants")(t1w, box(t1w.data.shape), target, "syn")
    np.testing.assert_allclose(found[0], WORLD, atol=1e-5)
    np.testing.assert_allclose(found[1], vectors[..., 0, :] * [-1, -1, 1])


@pytest.mark.parametrize("name", ["fsl", "ants"])
def test_coregistration_leads_from_t1w_to_bold(programs, name):
    truth = rigid((2, -4, 3), (5, 2, -8))  # T1w to BOLD points
    boldref, t1w = image(TILTED, (10, 11, 9), 1), image(STRAIGHT)
    tissue = np.where(box(t1w.data.shape), 2, 0).astype(np.uint8)
    if name == "fsl":
        first = flirt_file(programs, "first.mat", np.eye(4), boldref, t1w)
        second = flirt_file(programs, "second.mat", truth, boldref, t1w)
        for matrix in (first, second):
            programs.says("flirt", {"{-omat}": matrix, "{-out}": matrix})
    else:
        files = {"{--output}0GenericAffine.mat": itk_file(programs, np.linalg.inv(truth))}
        programs.says("antsRegistration", files)
    mask = np.ones(boldref.data.shape, dtype=bool)
    found = engine("coregistration", name)(boldref, mask, t1w, tissue)
    np.testing.assert_allclose(found, truth, atol=1e-5)
    if name == "fsl":
        assert "-init" in programs.calls[1]["argv"]
        assert "bbr" in programs.calls[1]["argv"]


def test_a_fieldmap_comes_back_on_the_grid_of_the_first_image(programs):
    first = image(np.diag([3, 3, 4, 1.0]), (9, 10, 7))  # RAS, odd: changed to LAS and padded
    second = image(first.affine, first.data.shape, 1)
    truth = np.random.default_rng(5).normal(0, 30, first.data.shape).astype(np.float32)
    padded = np.zeros((10, 10, 8), np.float32)
    padded[:9, :10, :7] = truth[::-1]
    field = programs.image("field.nii.gz", padded, np.diag([-3, 3, 4, 1.0]))
    text = programs.text("text", "0\n")
    files = {"{--fout}": field, "{--iout}": field, "{--out}_fieldcoef.nii.gz": field}
    files |= {"{--out}_movpar.txt": text, "{--logout}": text}
    for k in (1, 2):
        files |= {f"warpfield_0{k}.nii.gz": field, f"jac_0{k}.nii.gz": field}
        files |= {f"xfm_0{k}.mat": text}
    programs.says("topup", files)
    images = [(first, "j", 0.05), (second, "j-", 0.05)]
    found = engine("distortion", "fsl")(images)
    np.testing.assert_array_equal(found.data, truth)
    np.testing.assert_array_equal(found.affine, first.affine)
    assert programs.left_behind() == []


@pytest.mark.parametrize(
    ("direction", "affine", "row"),
    [
        ("j", STRAIGHT, [0, 1, 0, 0.04]),
        ("j-", STRAIGHT, [0, -1, 0, 0.04]),
        ("i", STRAIGHT, [-1, 0, 0, 0.04]),  # the axis is reversed for FSL
        ("i", STRAIGHT @ np.diag([-1, 1, 1, 1.0]), [1, 0, 0, 0.04]),
        ("i-", STRAIGHT[:, [1, 0, 2, 3]], [0, -1, 0, 0.04]),  # the first axis is y
        ("k", STRAIGHT @ np.diag([1, 1, -1, 1.0]), [0, 0, -1, 0.04]),
    ],
)
def test_phase_encoding_is_told_for_the_turned_image(direction, affine, row):
    np.testing.assert_allclose(encoding(direction, 0.04, affine), row)


@pytest.mark.parametrize(("direction", "readout"), [("y", 0.05), ("", 0.05), ("j", 0.0)])
def test_a_phase_encoding_that_is_none_is_refused(programs, direction, readout):
    images = [(image(), direction, readout), (image(seed=1), "j-", 0.05)]
    with pytest.raises(ScanFailed, match="PhaseEncodingDirection"):
        engine("distortion", "fsl")(images)


def test_one_direction_alone_is_no_fieldmap(programs):
    with pytest.raises(ScanFailed, match="at least two different"):
        engine("distortion", "fsl")([(image(), "j", 0.05), (image(seed=1), "j", 0.05)])


def test_unwrapped_phase_is_zero_outside_the_mask(programs):
    phase, mask = image(TILTED), box((20, 24, 16))
    programs.says("prelude", {"{--unwrap}": programs.image("u.nii.gz", phase.data + 6, TILTED)})
    found = engine("unwrap", "fsl")(phase, image(TILTED, seed=1), mask)
    np.testing.assert_array_equal(found.data, np.where(mask, phase.data + 6, 0))
