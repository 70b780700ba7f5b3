"""Derivatives are valid BIDS, other programs can read them, and they document their provenance."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import ants
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine
from nilearn.interfaces.fmriprep import load_confounds
from nitransforms import linear
from scipy.spatial.transform import Rotation

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.preprocess.anatomical.t1w import NAMES
from brainmass_core.preprocess.files import provenance
from brainmass_core.preprocess.files.derivatives import (
    PreprocessInput,
    describe,
    write_bold,
    write_derivatives,
    write_template_bold,
)
from brainmass_core.preprocess.files.itk import TO_LPS, save_itk_affines, save_itk_field
from brainmass_core.preprocess.functional.bold import Bold
from brainmass_core.preprocess.functional.bold_series import quantised, save_series
from brainmass_core.preprocess.functional.confound_columns import describe_columns
from brainmass_core.preprocess.functional.confounds import confounds_table
from brainmass_core.preprocess.functional.motion import resample_volume
from brainmass_core.preprocess.grids import Volume, save_image
from brainmass_core.preprocess.quality_control.carpet import sample_carpet
from brainmass_core.preprocess.transform_files import (
    load_normalisation,
    load_transforms,
    save_normalisation,
)
from brainmass_core.preprocess.transforms import Normalisation, ScanTransforms

N_VOLUMES = 30
T_R = 2.0
VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
BOLD_AFFINE = np.array([[-6.0, 0, 0, 96], [0, 6, 0, -120], [0, 0, 6, -66], [0, 0, 0, 1]])


def rigid(rng: np.random.Generator, mm: float, degrees: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", rng.normal(0, degrees, 3), True).as_matrix()
    matrix[:3, 3] = rng.normal(0, mm, 3)
    return matrix


@pytest.fixture(scope="module")
def transforms() -> ScanTransforms:
    rng = np.random.default_rng(0)
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-84, -124, -80]
    waves = [np.cos(np.arange(n) / 8) for n in (43, 52, 45)]
    field = 4 * np.einsum("i,j,k,c->ijkc", *waves, np.array([1, -0.5, 0.8])).astype(np.float32)
    stretched = rigid(rng, 3, 3) @ np.diag([1.05, 0.95, 1.02, 1])
    motion = np.array([rigid(rng, 0.5, 0.4) for _ in range(N_VOLUMES)])
    return ScanTransforms(Normalisation(stretched, field, affine), rigid(rng, 4, 3), motion)


@pytest.fixture(scope="module")
def bold() -> Bold:
    """A smooth ball that fluctuates."""
    rng = np.random.default_rng(1)
    shape = (33, 40, 30)
    points = apply_affine(BOLD_AFFINE, np.indices(shape).reshape(3, -1).T)
    ball = 1 / (1 + np.exp((np.linalg.norm(points - [0, -15, 10], axis=1) - 70) / 4))
    waves = 1000 + 100 * np.sin(points / 11).sum(axis=1)
    gain = 1 + 0.02 * rng.normal(size=N_VOLUMES)
    data = (ball * waves)[:, None] * gain
    return Bold(data.reshape(*shape, N_VOLUMES).astype(np.float32), BOLD_AFFINE)


@pytest.fixture(scope="module")
def moved(bold: Bold, transforms: ScanTransforms) -> SimpleNamespace:
    """The attributes of `head.Moved` that are read."""
    boldref = Volume(np.median(bold.data, axis=3), BOLD_AFFINE)
    rng = np.random.default_rng(2)
    displacement = {
        name: np.r_[np.nan, rng.uniform(0, 0.3, N_VOLUMES - 1)]
        for name in ("framewise_displacement", "rmsd")
    }
    parameters = rng.normal(0, 0.1, (N_VOLUMES, 6))
    return SimpleNamespace(
        motion=transforms.motion,
        boldref=boldref,
        epi_mask=boldref.data > 400,
        parameters=parameters,
        displacement=displacement,
    )


@pytest.fixture(scope="module")
def confounds(moved: SimpleNamespace) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    signals = {n: rng.normal(1000, 5, N_VOLUMES) for n in ("csf", "white_matter", "global_signal")}
    change = (np.r_[np.nan, rng.uniform(10, 20, N_VOLUMES - 1)], np.r_[np.nan, np.full(29, 1.6)])
    components = rng.normal(size=(N_VOLUMES, 6))
    table = confounds_table(
        *(moved.parameters, moved.displacement, change, signals, components), 8.0, 0.5
    )
    return table.rename(columns={"motion_outlier28": "non_steady_state_outlier00"})


def written(
    root: Path,
    mode: str,
    moved: SimpleNamespace,
    transforms: ScanTransforms,
    confounds: pd.DataFrame,
) -> tuple[PreprocessInput, dict[str, Path]]:
    """A whole folder of derivatives of one run."""
    raw = root / "raw" / "sub-1"
    scan = {
        "scan_id": "ds_sub-1_task-rest",
        "bold_path": str(raw / "func" / "sub-1_task-rest_bold.nii.gz"),
        "t1w_path": str(raw / "anat" / "sub-1_T1w.nii.gz"),
        **{"participant_id": "sub-1", "session": None, "task": "rest", "t_r": T_R},
        "slice_timing": None,
    }
    settings = Preprocess(derivatives=mode, bold_resolution=6)
    folder = root / "results" / "preprocess" / "ds" / "derivatives"
    item = PreprocessInput(scan, settings, folder, root / "results", "key", root / "steps")
    files = {k: folder / "sub-1" / "anat" / f"sub-1_{name}" for k, name in NAMES.items()}
    t1w = Volume(np.full((20, 20, 20), 100, np.uint8), np.diag([8.0, 8, 8, 1]))
    for name, path in files.items():
        if name == "normalisation":
            save_normalisation(path, transforms.normalisation)
        elif path.name.endswith(".nii.gz"):
            save_image(path, t1w)
    if mode == "full":  # names of the anatomical part
        for label in ("GM", "WM", "CSF"):
            path = folder / "sub-1" / "anat" / f"sub-1_label-{label}_probseg.nii.gz"
            save_image(path, t1w)
            files[label] = path
    anatomy = SimpleNamespace(normalisation=transforms.normalisation, files=files)
    found = SimpleNamespace(t1w_to_boldref=transforms.t1w_to_boldref)
    noise = SimpleNamespace(
        confounds=confounds,
        mask=moved.epi_mask,
        tsnr=np.full(moved.epi_mask.shape, 50.0, np.float32),
        carpet=sample_carpet(np.full((N_VOLUMES, 9), 100.0), np.repeat([1, 2, 3], 3)),
    )
    describe(folder, "ds", root / "raw", settings)
    placed = SimpleNamespace(found=found, distortion=None)
    outputs = write_derivatives(item, moved, placed, anatomy, noise)
    return item, outputs


@pytest.fixture(scope="module", params=["full", "minimal"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory, mode, moved, transforms, confounds, bold
) -> tuple[PreprocessInput, dict]:
    item, outputs = written(tmp_path_factory.mktemp(mode), mode, moved, transforms, confounds)
    if mode == "full":
        outputs = outputs | {"bold_preproc": write_bold(item, bold, moved)}
        outputs |= write_template_bold(item, bold, transforms, moved.boldref, moved.epi_mask)
    return item, outputs


# --- BIDS -----------------------------------------------------------------------------------------


def validated(folder: Path) -> list[dict]:
    """Issues that the official validator finds."""
    if not VALIDATOR.exists():
        pytest.skip("bids-validator-deno is not installed (extra `dev`)")
    command = [str(VALIDATOR), str(folder), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    if not done.stdout.strip():
        pytest.skip(f"bids-validator-deno does not run here: {done.stderr[:300]}")
    return json.loads(done.stdout)["issues"]["issues"]


@pytest.mark.study
def test_the_official_validator_finds_no_error(folder, tmp_path):
    item, _ = folder
    issues = validated(item.derivatives)
    assert [i for i in issues if i["severity"] == "error"] == []
    # the validator would find an invalid one
    broken = tmp_path / "broken"
    shutil.copytree(item.derivatives, broken)
    for file in [*broken.rglob("*T1w.json"), broken / ".bidsignore"]:
        file.unlink()
    codes = {i["code"] for i in validated(broken) if i["severity"] == "error"}
    assert codes >= {"NOT_INCLUDED", "SIDECAR_KEY_REQUIRED"}


def test_full_derivatives_have_a_sidecar_for_every_image_and_table(folder, mode):
    item, outputs = folder
    assert all(path.is_file() for path in outputs.values())
    data = [f for f in item.derivatives.rglob("*") if f.name.endswith((".nii.gz", ".tsv"))]
    assert len(data) >= 4
    for file in data:
        sidecar = file.with_name(file.name.split(".")[0] + ".json")
        assert sidecar.exists() == (mode == "full"), sidecar
        if mode == "full" and not file.name.endswith(".tsv"):
            about = json.loads(sidecar.read_text())
            assert about["Description"]
            assert all(s.startswith("bids:") for s in about["Sources"])


def test_later_stages_find_their_transforms_in_both_modes(folder, transforms):
    item, outputs = folder
    names = {k: str(f.relative_to(item.results)) for k, f in outputs.items()}
    found = load_transforms(item.results, names)
    points = np.random.default_rng(4).uniform(-60, 60, (50, 3))
    np.testing.assert_allclose(
        found.template_to_volume(points, 3), transforms.template_to_volume(points, 3), atol=0.02
    )


def test_the_same_run_gives_the_same_bytes(tmp_path, mode, moved, transforms, confounds):
    item, _ = written(tmp_path, mode, moved, transforms, confounds)
    files = {f: f.read_bytes() for f in item.derivatives.rglob("*") if f.is_file()}
    shutil.rmtree(item.derivatives)
    written(tmp_path, mode, moved, transforms, confounds)
    assert {f: f.read_bytes() for f in item.derivatives.rglob("*") if f.is_file()} == files


def test_sources_are_paths_within_their_data_set():
    path = "/data/sub-studies/ds1/sub-2/ses-a/func/sub-2_ses-a_task-x_bold.nii.gz"
    found = provenance.bids_uri(path, "raw")
    assert found == "bids:raw:sub-2/ses-a/func/sub-2_ses-a_task-x_bold.nii.gz"


# --- who made it ----------------------------------------------------------------------------------


def describe_again(folder: Path) -> None:
    for _ in range(20):
        provenance.write_description(folder, "ds", {"raw": "/data/ds"}, {"b": 1, "a": [2]})
        found = json.loads((folder / "dataset_description.json").read_text())  # never half of it
        assert found["Settings"] == {"b": 1, "a": [2]}


@pytest.mark.study
def test_batches_may_describe_their_data_set_at_once(tmp_path):
    with ProcessPoolExecutor(3) as pool:
        for future in [pool.submit(describe_again, tmp_path) for _ in range(3)]:
            future.result()
    left = {f.name for f in tmp_path.iterdir()}
    assert left == {"dataset_description.json", ".bidsignore", "README"}


def test_a_changed_knob_changes_the_hash_and_the_order_of_knobs_does_not():
    assert provenance.hash_of({"a": 1, "b": 2}) == provenance.hash_of({"b": 2, "a": 1})
    assert provenance.hash_of({"a": 1}) != provenance.hash_of({"a": 2})


# --- confounds ------------------------------------------------------------------------------------


def test_every_column_is_described_with_its_unit(confounds):
    about = describe_columns(confounds.columns)
    assert list(about) == list(confounds.columns)
    for column, said in about.items():
        assert said["Units"] != "n/a", column
        assert said["Description"] not in ("", column), column
    assert about["trans_x_derivative1_power2"]["Units"] == "mm^2"
    assert about["rot_z_lag1"]["Units"] == "rad"
    single = [s["Description"] for c, s in about.items() if not c[-2:].isdigit()]
    assert len(set(single)) == len(single) > 50


def test_what_is_known_of_a_component_goes_into_its_description():
    known = {"a_comp_cor_00": {"VarianceExplained": 0.2}}
    about = describe_columns(["a_comp_cor_00", "w_comp_cor_01", "t_comp_cor_02"], known)
    assert about["a_comp_cor_00"]["VarianceExplained"] == 0.2
    assert [about[c].get("Mask") for c in about] == ["combined", "WM", None]
    assert [about[c]["Method"] for c in about] == ["aCompCor", "aCompCor", "tCompCor"]


@pytest.mark.parametrize("mode", ["full"], indirect=True)
def test_nilearn_loads_the_confounds_beside_the_template_bold(folder, confounds):
    _, outputs = folder
    found, _ = load_confounds(
        str(outputs["bold_template"]),
        strategy=("motion", "wm_csf", "global_signal", "compcor", "high_pass"),
        **{"motion": "full", "wm_csf": "full", "global_signal": "full"},
        **{"compcor": "anat_combined", "n_compcor": 5, "demean": False},
    )
    assert found.shape[1] == 24 + 8 + 4 + 5 + sum(c.startswith("cosine") for c in confounds)
    np.testing.assert_allclose(found["a_comp_cor_04"], confounds["a_comp_cor_04"], rtol=1e-7)


# --- other programs -------------------------------------------------------------------------------


def by_ants(points: np.ndarray, transform: Path) -> np.ndarray:
    """Positions of points (n, 3), RAS mm, mapped by ANTs."""
    lps = pd.DataFrame(apply_affine(TO_LPS, points), columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, lps, [str(transform)])
    return apply_affine(TO_LPS, moved[["x", "y", "z"]].to_numpy())


def test_ants_maps_points_as_our_affines_do(tmp_path, transforms):
    points = np.random.default_rng(5).uniform(-80, 80, (40, 3))
    for affine in (transforms.t1w_to_boldref, transforms.normalisation.affine):
        save_itk_affines(tmp_path / "a.txt", affine[None])
        found = by_ants(points, tmp_path / "a.txt")
        np.testing.assert_allclose(found, apply_affine(affine, points), atol=1e-3)


@pytest.mark.parametrize("mode", ["full"], indirect=True)
def test_ants_reads_the_coregistration_in_both_directions(folder, transforms):
    _, outputs = folder
    points = np.random.default_rng(6).uniform(-80, 80, (40, 3))
    stem = str(outputs["boldref"]).removesuffix("desc-hmc_boldref.nii.gz")
    # an image of A on the grid of B: points of B to points of A
    to_t1w = by_ants(points, Path(f"{stem}from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt"))
    np.testing.assert_allclose(to_t1w, apply_affine(transforms.t1w_to_boldref, points), atol=1e-3)
    back = by_ants(to_t1w, Path(f"{stem}from-T1w_to-boldref_mode-image_desc-coreg_xfm.txt"))
    np.testing.assert_allclose(back, points, atol=1e-3)


@pytest.mark.parametrize("mode", ["full"], indirect=True)
def test_every_block_of_the_head_motion_is_one_volume(folder, transforms, tmp_path):
    _, outputs = folder
    stem = str(outputs["boldref"]).removesuffix("desc-hmc_boldref.nii.gz")
    hmc = "from-orig_to-boldref_mode-image_desc-hmc_xfm.txt"
    text = Path(f"{stem}{hmc}").read_text()
    by_nitransforms = linear.load(Path(f"{stem}{hmc}"), fmt="itk").matrix
    np.testing.assert_allclose(by_nitransforms, transforms.motion, atol=1e-5)
    head, *blocks = text.split("#Transform ")
    assert len(blocks) == N_VOLUMES
    points = np.random.default_rng(7).uniform(-80, 80, (20, 3))
    for t in (0, 17, N_VOLUMES - 1):
        (tmp_path / "one.txt").write_text(head + "#Transform 0" + blocks[t].removeprefix(str(t)))
        found = by_ants(points, tmp_path / "one.txt")
        np.testing.assert_allclose(found, transforms.boldref_to_volume(points, t), atol=1e-3)


def test_ants_maps_points_by_the_displacement_field_as_we_do(tmp_path, transforms):
    normalisation = transforms.normalisation
    save_itk_field(tmp_path / "field.nii.gz", normalisation)
    nodes = np.random.default_rng(8).uniform(
        3, np.array(normalisation.field.shape[:3]) - 4, (99, 3)
    )
    points = apply_affine(normalisation.field_affine, nodes)
    error = np.linalg.norm(
        by_ants(points, tmp_path / "field.nii.gz") - normalisation.template_to_t1w(points), axis=1
    )
    assert error.mean() < 0.05  # ANTs interpolates linearly
    assert error.max() < 0.2
    assert np.linalg.norm(normalisation.template_to_t1w(points) - points, axis=1).mean() > 2


# --- preprocessed BOLD ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["full"], indirect=True)
def test_template_bold_is_the_raw_run_at_the_points_of_the_template(folder, bold, transforms):
    _, outputs = folder
    image = nib.load(outputs["bold_template"])
    assert image.get_data_dtype() == np.int16
    assert image.header.get_zooms() == (6, 6, 6, T_R)
    scale = float(image.dataobj.slope)
    rng = np.random.default_rng(9)
    mask = np.asarray(nib.load(outputs["bold_mask_template"]).dataobj) > 0
    some = rng.permutation(np.argwhere(mask))[:300]
    points = apply_affine(image.affine, some)
    for t in (0, 11, N_VOLUMES - 1):
        truth = Volume(bold.data[..., t], bold.affine).at(
            transforms.template_to_volume(points, t), order=3
        )
        found = np.asarray(image.dataobj[..., t])[tuple(some.T)]
        np.testing.assert_allclose(found, truth, atol=0.6 * scale + 1e-3)
    assert 0.01 < scale < 0.1  # 1000 units of signal: finer than the noise of any scanner


@pytest.mark.parametrize("mode", ["full"], indirect=True)
def test_mask_and_reference_in_template_space_belong_to_the_bold(folder, moved):
    _, outputs = folder
    series, mask, reference = (
        nib.load(outputs[k]) for k in ("bold_template", "bold_mask_template", "boldref_template")
    )
    np.testing.assert_array_equal(series.affine, mask.affine)
    np.testing.assert_array_equal(series.affine, reference.affine)
    inside = np.asarray(mask.dataobj) > 0
    volume = inside.sum() * 6**3
    assert volume == pytest.approx(moved.epi_mask.sum() * 6**3 / 1.017, rel=0.15)
    mean = np.asarray(series.dataobj).mean(axis=3)
    assert np.corrcoef(mean[inside], reference.get_fdata()[inside])[0, 1] > 0.99


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_the_reference_volume_keeps_its_intensities(
    tmp_path, scale, bold, moved, transforms, confounds
):
    scaled = moved.boldref.with_data(scale * moved.boldref.data)
    other = SimpleNamespace(**vars(moved) | {"boldref": scaled})
    _, outputs = written(tmp_path, "full", other, transforms, confounds)
    found = nib.load(outputs["boldref"])
    np.testing.assert_allclose(found.get_fdata(), scaled.data, atol=5e-4 * scaled.data.max())
    assert outputs["boldref"].stat().st_size < 2 * scaled.data.size


@pytest.mark.parametrize("mode", ["full"], indirect=True)
def test_native_bold_is_the_realigned_run(folder, bold, moved):
    _, outputs = folder
    image = nib.load(outputs["bold_preproc"])
    np.testing.assert_allclose(image.affine, bold.affine, atol=1e-5)
    for t in (0, 20):
        truth = resample_volume(bold.data[..., t], bold.affine, moved.motion[t])
        found = np.asarray(image.dataobj[..., t])
        np.testing.assert_allclose(found, truth, atol=0.6 * float(image.dataobj.slope) + 1e-3)


def test_a_stray_voxel_does_not_cost_the_brain_its_grey_levels(bold, moved):
    data = bold.data.copy()
    usual = quantised(data, moved.epi_mask)
    data[0, 0, 0, 5] = 1e9
    assert quantised(data, moved.epi_mask) < 20 * usual


def test_a_series_is_written_volume_by_volume_and_whole_or_not_at_all(tmp_path):
    data = np.random.default_rng(10).normal(0, 100, (4, 5, 6, 7))
    affine = np.diag([2.0, 3, 4, 1])
    path = tmp_path / "s.nii.gz"
    save_series(path, (data[..., t] for t in range(7)), data.shape, affine, 1.5, 0.02)
    np.testing.assert_allclose(nib.load(path).get_fdata(), data, atol=0.011)
    before = path.read_bytes()
    save_series(path, (data[..., t] for t in range(7)), data.shape, affine, 1.5, 0.02)
    assert path.read_bytes() == before
    with pytest.raises(AssertionError):
        save_series(path, (data[..., t] for t in range(6)), data.shape, affine, 1.5, 0.02)
    assert path.read_bytes() == before


def test_a_field_is_kept_to_a_hundredth_of_a_millimetre_in_few_bytes(tmp_path, transforms):
    kept = transforms.normalisation
    rough = kept.field + np.random.default_rng(11).normal(0, 40, kept.field.shape)
    for name, field in {"smooth": kept.field, "rough": rough.astype(np.float32)}.items():
        path = tmp_path / f"{name}.npz"
        save_normalisation(path, Normalisation(kept.affine, field, kept.field_affine))
        np.testing.assert_allclose(load_normalisation(path).field, field, atol=0.0051)
    as_float16 = kept.field.astype(np.float16).nbytes
    assert (tmp_path / "smooth.npz").stat().st_size < 0.25 * as_float16
