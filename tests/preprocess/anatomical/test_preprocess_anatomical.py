"""The anatomical part from file to derivatives: truth, resumption, keys, engines, invalid heads."""

from __future__ import annotations

import dataclasses
import shutil
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import preprocess_head as heads
import pytest
from nibabel.affines import apply_affine
from nilearn import datasets
from scipy.ndimage import distance_transform_edt
from scipy.spatial.transform import Rotation

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess import engines
from brainmass_core.preprocess.anatomical import registration, structural
from brainmass_core.preprocess.anatomical.registration import Placed, deform, place
from brainmass_core.preprocess.anatomical.segmentation import GREY
from brainmass_core.preprocess.anatomical.t1w import (
    Anatomy,
    anatomical_key,
    anatomy_of,
    check_anatomy,
    read_t1w,
)
from brainmass_core.preprocess.anatomical.template import load_template
from brainmass_core.preprocess.engines import greedy
from brainmass_core.preprocess.engines.antspy import correct_bias
from brainmass_core.preprocess.grids import Volume, load_image, resample, to_isotropic
from brainmass_core.preprocess.steps import Steps
from brainmass_core.preprocess.transforms import Normalisation
from brainmass_core.spaces import FSL, ICBM_2009C

FAST = Preprocess(resolution=4.0, registration="affine")
STEPS = ["affine", "bias_correction", "normalisation", "segmentation"]


@lru_cache(maxsize=1)
def head() -> tuple[np.ndarray, np.ndarray]:
    """A coarse head: data and affine."""
    image = heads.Head(0).t1w(3.0)
    return np.asarray(image.dataobj), image.affine


@lru_cache(maxsize=1)
def placed() -> Placed:
    """Its affine, which takes most of the time of these tests."""
    settings = FAST
    whole = to_isotropic(Volume(*head()), settings.resolution)
    return place(whole, load_template(None, None, settings.resolution))


@pytest.fixture(autouse=True)
def _one_affine(monkeypatch):
    """Tests with the coarse head share its affine; tests with other heads call `place`."""
    monkeypatch.setattr(structural, "place", lambda *_: placed())


def saved(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(np.asarray(data, dtype=np.float32), affine).to_filename(path)
    return path


@pytest.fixture(scope="module")
def t1w(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("bids") / "sub-1_T1w.nii.gz", *head())


@pytest.fixture(scope="module")
def made(t1w, tmp_path_factory) -> tuple[Anatomy, Steps]:
    folder, steps = tmp_path_factory.mktemp("made"), Steps()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structural, "place", lambda *_: placed())
        return anatomy_of(str(t1w), folder, FAST, steps), steps


def bytes_of(anatomy: Anatomy) -> dict[str, bytes]:
    return {name: file.read_bytes() for name, file in anatomy.files.items()}


# ---------------------------------------------------------------- truth


def error_mm(found: Normalisation, head: heads.Head) -> float:
    """Mean distance between points of the template and their positions after the estimated map and
    the true inverse.
    """
    points = heads.template_points(3)
    back = head.t1w_to_template(found.template_to_t1w(points))
    return float(np.linalg.norm(back - points, axis=1).mean())


def overlaps(found: Normalisation, head: heads.Head, labels: nib.Nifti1Image) -> list[float]:
    """Dice of each label of an image in the template's space, after the estimated map and the true
    inverse.
    """
    points = heads.template_points(2)
    back = head.t1w_to_template(found.template_to_t1w(points))
    here, there = (nearest(labels, p) for p in (points, back))
    return [heads.dice(here == k, there == k) for k in np.unique(here[here > 0])]


def nearest(image: nib.Nifti1Image, points: np.ndarray) -> np.ndarray:
    data = np.asarray(image.dataobj)
    voxels = np.rint(apply_affine(np.linalg.inv(image.affine), points)).astype(int)
    return data[tuple(np.clip(voxels, 0, np.array(data.shape) - 1).T)]


def grey_map() -> nib.Nifti1Image:
    grey = datasets.load_mni152_gm_template(resolution=1)
    return nib.Nifti1Image((grey.get_fdata() > 0.5).astype(np.uint8), grey.affine)


@pytest.mark.slow
def test_the_default_preset_finds_the_truth_within_a_millimetre(tmp_path, shared_data, monkeypatch):
    monkeypatch.setattr(structural, "place", place)
    person = heads.Head(0)
    path = tmp_path / "sub-1_T1w.nii.gz"
    person.t1w().to_filename(path)
    settings = Preprocess()
    found = anatomy_of(str(path), tmp_path / "out", settings)
    check_anatomy(found, settings, str(path))
    assert error_mm(found.normalisation, person) < 1.0
    assert overlaps(found.normalisation, person, grey_map())[0] > 0.94
    schaefer = "Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm.nii.gz"
    parcels = nib.load(shared_data / "atlas_schaefer100" / schaefer)
    assert np.mean(overlaps(found.normalisation, person, parcels)) > 0.90
    points = found.tissue.points()
    shape = found.tissue.data.shape
    brain = person.sample(heads.maps().brain, points).reshape(shape) > 0.5
    assert heads.dice(found.mask, brain) > 0.98
    grey = brain & (person.sample(heads.maps().grey, points).reshape(shape) > 0.5)
    assert (grey & ~found.mask).sum() < 0.01 * grey.sum()
    assert heads.dice(found.tissue.data == GREY, grey) > 0.85


# ---------------------------------------------------------------- derivatives


@pytest.mark.study
def test_tissue_maps_are_probabilities_that_agree_with_the_labels(made):
    anatomy, _ = made
    names = ["grey_probseg", "white_probseg", "csf_probseg"]
    maps = np.stack([nib.load(anatomy.files[n]).get_fdata() for n in names], axis=-1)
    assert 0 <= maps.min() < maps.max() <= 1
    np.testing.assert_allclose(maps.sum(axis=-1)[anatomy.mask], 1, atol=0.01)
    assert not maps[~anatomy.mask].any()
    sure = anatomy.mask & (np.sort(maps, axis=-1)[..., -1] > 0.51)
    np.testing.assert_array_equal(maps.argmax(axis=-1)[sure] + 1, anatomy.tissue.data[sure])
    assert nib.load(anatomy.files["grey_probseg"]).get_data_dtype() == np.uint8
    np.testing.assert_array_equal(load_image(anatomy.files["t1w_mask"]).data > 0, anatomy.mask)


@pytest.mark.study
def test_minimal_derivatives_are_those_that_later_stages_read(t1w, tmp_path, made):
    settings = FAST.model_copy(update={"derivatives": "minimal"})
    minimal = anatomy_of(str(t1w), tmp_path, settings)
    assert minimal.files.keys() == {"normalisation", "t1w_preproc", "tissue"}
    full = bytes_of(made[0])
    assert all(content == full[name] for name, content in bytes_of(minimal).items())


@pytest.mark.study
def test_the_brain_is_measured(made):
    anatomy, steps = made
    truth = heads.maps().brain.sum() / 1e3 / abs(np.linalg.det(heads.Head(0).matrix[:3, :3]))
    assert anatomy.brain_volume == pytest.approx(truth, rel=0.1)
    assert anatomy.t1w_coverage == 1
    check_anatomy(anatomy, FAST, "T1w")
    assert [s for s in steps.seconds if s != "anatomical"] == STEPS
    assert all(steps.peak_rss[s] > 0 for s in STEPS)


# ---------------------------------------------------------------- resumption and keys


class Killed(BaseException):
    """In place of a signal: nothing may catch it."""


@pytest.mark.study
@pytest.mark.parametrize("at", ["normalisation", "segmentation"])
def test_a_killed_anatomy_goes_on_after_its_last_step(at, t1w, made, tmp_path, monkeypatch):
    def killed(*_):
        raise Killed

    where = {"normalisation": (greedy, "normalisation"), "segmentation": (structural, "segment")}
    with monkeypatch.context() as patch:
        patch.setattr(*where[at], killed)
        with pytest.raises(Killed):
            anatomy_of(str(t1w), tmp_path / "out", FAST, Steps(tmp_path / "work" / "run-1"))
    monkeypatch.setattr(structural, "place", killed)
    monkeypatch.setattr(structural, "correct_bias", killed)
    if at == "segmentation":
        monkeypatch.setattr(greedy, "normalisation", killed)
    # another run of the participant comes first this time
    steps = Steps(tmp_path / "work" / "run-2")
    again = anatomy_of(str(t1w), tmp_path / "out", FAST, steps)
    assert bytes_of(again) == bytes_of(made[0])
    assert set(STEPS) <= steps.seconds.keys()
    assert not any((tmp_path / "work").rglob("*.npz")), "kept parts outlive the whole"


@pytest.mark.study
def test_the_anatomy_of_an_earlier_scan_is_taken_as_it_is(t1w, tmp_path, made, monkeypatch):
    place_of = made[0].files["tissue"].parents[2]
    monkeypatch.setattr(structural, "place", None)
    steps = Steps()
    again = anatomy_of(str(t1w), place_of, FAST.model_copy(update={"max_mean_fd": 3.0}), steps)
    assert bytes_of(again) == bytes_of(made[0])
    assert steps.seconds.keys() == {"anatomical"}


def test_the_key_depends_on_what_the_derivatives_are_made_of_and_on_nothing_else(tmp_path):
    t1w = saved(tmp_path / "bids" / "sub-1_T1w.nii.gz", np.ones((4, 4, 4)), np.eye(4))
    given = {"template": t1w, "template_mask": t1w, "template_space": FSL}
    base = FAST.model_copy(update=given)
    key = anatomical_key(t1w, base)
    other = Path(shutil.copy(t1w, tmp_path / "sub-1_T1w.nii.gz"))
    assert anatomical_key(other, base) != key
    matters = {
        "template": other,
        "template_mask": other,
        "template_space": ICBM_2009C,
        "resolution": 3.0,
        "registration": "syn",
        "derivatives": "minimal",
        "engines": base.engines.model_copy(update={"segmentation": "fsl"}),
    }
    changed = [anatomical_key(t1w, base.model_copy(update={k: v})) for k, v in matters.items()]
    assert len({key, *changed}) == 8
    for name in Preprocess.model_fields.keys() - matters.keys():
        assert anatomical_key(t1w, base.model_copy(update={name: "other"})) == key, name
    motion = base.engines.model_copy(update={"motion": "fsl"})
    assert anatomical_key(t1w, base.model_copy(update={"engines": motion})) == key


# ---------------------------------------------------------------- engines


def embedded_mask(image: Volume, template) -> np.ndarray:
    """Our own mask, as a program without our affine would write it."""
    straight = registration.coarse(placed().affine, None, template.brain)
    where = registration.in_template(image, straight, template.brain)
    return registration.brain_of(image, template, where)


def embedded_normalisation(t1w: Volume, mask: np.ndarray, template, kind: str):
    return deform(t1w, mask, template, kind, placed().affine)


OURS = {
    "bias_correction": correct_bias,
    "segmentation": structural.embedded_segmentation,
    "brain_extraction": embedded_mask,
    "normalisation": embedded_normalisation,
}


def with_engine(monkeypatch, **functions) -> Preprocess:
    """Settings in which these functions replace ANTs' programs."""
    known = engines.engine
    monkeypatch.setattr(
        structural, "engine", lambda step, name: functions.get(step) or known(step, name)
    )
    chosen = FAST.engines.model_copy(update=dict.fromkeys(functions, "ants"))
    return FAST.model_copy(update={"engines": chosen})


@pytest.mark.study
@pytest.mark.parametrize("step", ["bias_correction", "segmentation"])
def test_the_embedded_function_through_the_seam_gives_the_same(step, monkeypatch, made):
    settings = with_engine(monkeypatch, **{step: OURS[step]})
    found = structural.estimate(Volume(*head()), load_template(None, None, 4.0), settings, Steps())
    expected = nib.load(made[0].files["grey_probseg"])
    grey = found.t1w.with_data(found.posteriors[..., 1])
    points = Volume(expected.get_fdata(), expected.affine).points()
    np.testing.assert_allclose(grey.at(points), expected.get_fdata().ravel(), atol=0.003)


@pytest.mark.study
def test_all_steps_may_be_done_by_others(monkeypatch):
    settings = with_engine(monkeypatch, **OURS)
    steps = Steps()
    found = structural.estimate(Volume(*head()), load_template(None, None, 4.0), settings, steps)
    done = ["brain_extraction", "bias_correction", "normalisation", "segmentation"]
    assert list(steps.seconds) == done
    assert error_mm(found.normalisation, heads.Head(0)) < 5
    assert found.template_correlation > 0.7


@pytest.mark.study
def test_the_mask_of_another_program_is_the_brain(monkeypatch):
    mine: list[np.ndarray] = []

    def smaller(image: Volume, template) -> np.ndarray:
        mask = distance_transform_edt(embedded_mask(image, template), sampling=4.0) > 4
        mine.append(mask)
        return mask

    settings = with_engine(monkeypatch, brain_extraction=smaller)
    found = structural.estimate(Volume(*head()), load_template(None, None, 4.0), settings, Steps())
    np.testing.assert_array_equal(found.mask, mine[0])
    np.testing.assert_array_equal(found.posteriors.sum(axis=-1) > 0.5, mine[0])


@pytest.mark.study
def test_a_missing_program_fails_the_scan_and_names_the_step(t1w, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    chosen = FAST.engines.model_copy(update={"bias_correction": "ants"})
    settings = FAST.model_copy(update={"engines": chosen})
    with pytest.raises((ScanFailed, OSError, ValueError), match="N4BiasFieldCorrection"):
        anatomy_of(str(t1w), tmp_path / "out", settings)


# ---------------------------------------------------------------- heads that are not as they should


COARSE = Preprocess(resolution=4.0, registration="syn_fast")
DEFAULT: dict[str, str] = {}
ANTS = {"normalisation": "embedded"}
DEEPBET = {"brain_extraction": "deepbet"}


def cases(*of: tuple, names: str) -> pytest.MarkDecorator:
    """Parametrisation by a variant of the head, and engines; other than the default nightly."""
    ids = {id(DEFAULT): "greedy", id(ANTS): "ants", id(DEEPBET): "deepbet"}
    marked = [
        pytest.param(*case, marks=() if any(x is DEFAULT for x in case) else pytest.mark.nightly)
        for case in of
    ]
    return pytest.mark.parametrize(names, marked, ids=lambda x: ids.get(id(x)))


def judged(
    data: np.ndarray, affine: np.ndarray, tmp_path: Path, monkeypatch, engines: dict | None = None
) -> Anatomy:
    """The anatomy of a head, if it passes the checks."""
    monkeypatch.setattr(structural, "place", place)
    path = saved(tmp_path / "sub-1_T1w.nii.gz", data, affine)
    settings = Preprocess.model_validate(COARSE.model_dump() | {"engines": engines or {}})
    found = anatomy_of(str(path), tmp_path / "out", settings)
    check_anatomy(found, settings, str(path))
    return found


def true_brain() -> np.ndarray:
    data, affine = head()
    points = Volume(data, affine).points()
    return heads.Head(0).sample(heads.maps().brain, points).reshape(data.shape) > 0.5


def defaced(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Blank before the brain and below it."""
    at = heads.Head(0).t1w_to_template(Volume(data, affine).points())
    face = ((at[:, 1] > 20) & (at[:, 2] < -25)) | ((at[:, 1] > 75) & (at[:, 2] < 0))
    return np.where(face.reshape(data.shape) & ~true_brain(), 0, data)


@pytest.mark.slow
@cases(("defaced", DEFAULT), ("stripped", DEFAULT), ("stripped", DEEPBET), names="harm, engines")
def test_a_defaced_or_skull_stripped_head_is_found_like_a_whole_one(
    harm, engines, tmp_path, monkeypatch
):
    data, affine = head()
    if harm == "defaced":
        data = defaced(data, affine)
    elif harm == "stripped":
        data = data * true_brain()
    found = judged(data, affine, tmp_path, monkeypatch, engines)
    assert error_mm(found.normalisation, heads.Head(0)) < 2.4  # 4 mm, syn_fast; SyN: 3.2


@pytest.mark.slow
@cases((False, DEFAULT), (True, DEFAULT), (False, DEEPBET), (False, ANTS), names="blank, engines")
def test_a_brain_without_its_top_is_refused_with_the_share_that_is_missing(
    blank, engines, tmp_path, monkeypatch
):
    data, affine = head()
    top = np.argwhere(true_brain())[:, 2].max() - round(25 / 3)
    cut = np.where(np.arange(data.shape[2]) < top, data, 0) if blank else data[..., :top]
    with pytest.raises(ScanFailed, match=r"cut off .* \d\d\.\d% .*min_t1w_coverage 0.985"):
        judged(cut, affine, tmp_path, monkeypatch, engines)


@pytest.mark.slow
@cases((DEFAULT,), (DEEPBET,), names="engines,")
def test_a_brain_without_its_bottom_is_refused(engines, tmp_path, monkeypatch):
    data, affine = head()
    first = np.argwhere(true_brain())[:, 2].min() + round(25 / 3)
    shorter = affine.copy()
    shorter[:3, 3] += affine[:3, 2] * first
    with pytest.raises(ScanFailed, match="cut off"):
        judged(data[..., first:], shorter, tmp_path, monkeypatch, engines)


@pytest.mark.slow
@cases(("inverted", DEFAULT), ("noise", DEFAULT), ("inverted", DEEPBET), names="harm, engines")
def test_what_does_not_look_like_a_t1w_is_refused(harm, engines, tmp_path, monkeypatch):
    monkeypatch.setattr(registration, "TURNS", registration.TURNS[:1])
    data, affine = head()
    if harm == "inverted":
        data = (data.max() - data) * (data > 60)
    else:
        data = np.random.default_rng(0).normal(100, 10, data.shape)
    with pytest.raises(ScanFailed) as caught:
        judged(data, affine, tmp_path, monkeypatch, engines)
    assert caught.value.remedy


@pytest.mark.slow
@cases(
    ("tilt and shift", DEFAULT),
    ("tilt and shift", DEEPBET),
    ("shear", DEFAULT),
    ("oblique and permuted", DEFAULT),
    names="move, engines",
)
def test_the_pose_of_the_head_does_not_matter(move, engines, tmp_path, monkeypatch):
    data, affine = head()
    world = np.eye(4)
    if move == "tilt and shift":
        world[:3, :3] = Rotation.from_euler("x", 25, degrees=True).as_matrix()
        world[:3, 3] = [60, -60, 60]
    elif move == "shear":
        world[0, 2] = 0.15
    else:
        data, affine = np.transpose(data[::-1], (2, 0, 1)), affine.copy()
        affine[:3, 3] += affine[:3, 0] * (data.shape[1] - 1)
        affine[:3, 0] *= -1
        affine = affine[:, [2, 0, 1, 3]]
        world[:3, :3] = Rotation.from_euler("z", 12, degrees=True).as_matrix()
    found = judged(data, world @ affine, tmp_path, monkeypatch, engines).normalisation
    back = Normalisation(np.linalg.inv(world) @ found.affine, found.field, found.field_affine)
    assert error_mm(back, heads.Head(0)) < 2.4


@pytest.mark.study
def test_implausible_numbers_are_refused_with_the_knob(made):
    anatomy, _ = made
    bad = {
        "template_correlation": (0.2, "min_template_correlation"),
        "t1w_coverage": (0.9, "min_t1w_coverage"),
        "brain_volume": (4000.0, "max_brain_volume"),
    }
    for name, (value, knob) in bad.items():
        with pytest.raises(ScanFailed, match=knob) as caught:
            check_anatomy(dataclasses.replace(anatomy, **{name: value}), FAST, "sub-1_T1w.nii")
        assert "sub-1_T1w.nii" in caught.value.reason
        assert caught.value.remedy


@pytest.mark.study
@pytest.mark.parametrize("size", [0.7, (1.5, 1.5, 3.0)])
def test_voxels_of_any_size_show_the_same_head(size, tmp_path):
    size = np.broadcast_to(size, 3)
    coarse = Volume(*head())
    shape = tuple((np.array(coarse.data.shape) * 3 / size).astype(int))
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = coarse.affine[:3, 3]
    raw = read_t1w(saved(tmp_path / "t1w.nii", resample(coarse, shape, affine).data, affine))
    on_grid = to_isotropic(raw, 4.0)
    inner = on_grid.points()[::97]
    assert np.corrcoef(on_grid.at(inner), coarse.at(inner))[0, 1] > 0.97


@pytest.mark.slow
def test_a_real_defaced_head_passes_with_a_plausible_brain(shared_data, tmp_path, monkeypatch):
    monkeypatch.setattr(structural, "place", place)
    folder = shared_data / "templates_mni"
    settings = Preprocess(
        registration="syn_fast",
        resolution=3.0,
        template=folder / "MNI152_T1_2mm.nii.gz",
        template_mask=folder / "MNI152_T1_2mm_brain_mask.nii.gz",
    )
    path = next((shared_data / "bids_studyforrest_sub02").rglob("*_T1w.nii.gz"))
    found = anatomy_of(str(path), tmp_path, settings)
    check_anatomy(found, settings, str(path))
    assert found.template_correlation > 0.75
    assert found.t1w_coverage > 0.99
    assert 1400 < found.brain_volume < 1900
    shares = [(found.tissue.data == k).sum() / found.mask.sum() for k in (1, 2, 3)]
    assert 0.4 < shares[0] < 0.6  # of the volume inside the skull: grey,
    assert 0.2 < shares[1] < 0.4  # white
