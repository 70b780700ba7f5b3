"""The stage: from a BIDS folder to derivatives and one row per scan."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import preprocess_phantom as phantom
import pyarrow as pa
import pytest
from nibabel.affines import apply_affine

from brainmass_core import preprocess, scans
from brainmass_core.config import Config, load_config
from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed, read_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.preprocess.anatomical import t1w as anatomical
from brainmass_core.preprocess.files.derivatives import PreprocessInput
from brainmass_core.preprocess.quality_control.criteria import Refusals, refuse_registration
from brainmass_core.preprocess.scan import preprocess_scan
from brainmass_core.preprocess.transform_files import load_transforms
from brainmass_core.tables import PREPROCESS, read_table

pytestmark = pytest.mark.study

N_VOLUMES = 24
KEYS = {
    *("normalisation", "coregistration", "motion", "confounds", "boldref", "bold_mask"),
    *("t1w_preproc", "tissue", "tsnr", "carpet"),
    *("t1w_mask", "grey_probseg", "white_probseg", "csf_probseg"),
}
SETTINGS = """
results: {results}
datasets:
  phantom: {{kind: bids, role: pretrain, path: {path}}}
preprocess: {{resolution: 4, registration: affine, min_volumes: 20}}
max_failed_fraction: 1.0
"""


@pytest.fixture(scope="module")
def bids(tmp_path_factory) -> Path:
    """One participant with two runs (the second is the first, cut), one without signal."""
    folder = tmp_path_factory.mktemp("bids")
    about = {"Name": "phantom", "BIDSVersion": "1.9.0"}
    (folder / "dataset_description.json").write_text(json.dumps(about))
    run = phantom.bold(phantom.slow_motion(N_VOLUMES + 5)).astype(np.int16)
    slices = np.r_[np.arange(0, 42, 2), np.arange(1, 42, 2)]
    times = np.empty(42)
    times[slices] = np.arange(42) * phantom.T_R / 42
    sidecar = {"RepetitionTime": phantom.T_R, "SliceTiming": times.round(4).tolist()}
    for name, data in {"run-1": run[..., :N_VOLUMES], "run-2": run[..., 5:]}.items():
        path = folder / "sub-1" / "func" / f"sub-1_task-rest_{name}_bold.nii.gz"
        phantom.save(path, phantom.image(data, phantom.BOLD_AFFINE), sidecar)
    phantom.save(folder / "sub-1" / "anat" / "sub-1_T1w.nii.gz", phantom.t1w())
    return folder


def configured(folder: Path, bids: Path) -> Config:
    path = folder / "config.yaml"
    path.write_text(SETTINGS.format(results=folder / "results", path=bids))
    return load_config(path)


def files_of(config: Config) -> dict[str, bytes]:
    """Derivatives of the data set, without the anatomical record, which contains durations."""
    folder = Paths(config.results).derivatives("phantom")
    return {
        str(f.relative_to(folder)): f.read_bytes()
        for f in sorted(folder.rglob("*"))
        if f.is_file() and not f.name.endswith((".lock", "anatomical.json"))
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory, bids) -> Config:
    config = configured(tmp_path_factory.mktemp("study"), bids)
    scans.run(config, "phantom")
    preprocess.run(config, "phantom", 0, 1)
    return config


@pytest.fixture(scope="module")
def rows(finished) -> list[dict]:
    table = read_table(Paths(finished.results).batch("preprocess", "phantom", 0), "preprocess")
    return table.to_pylist()


def test_every_scan_has_a_row_with_quality_and_outputs(rows, finished):
    assert [r["scan_id"] for r in rows] == [
        "phantom_sub-1_task-rest_run-1",
        "phantom_sub-1_task-rest_run-2",
    ]
    for row in rows:
        assert row["status"] == "ok"
        assert dict(row["outputs"]).keys() == dict(row["sha256"]).keys() == KEYS
        assert all((finished.results / p).is_file() for p in dict(row["outputs"]).values())
        assert row["n_volumes"] == N_VOLUMES
        assert 0 < row["mean_fd"] < 0.5
        assert row["mask_dice"] > 0.9
        assert row["template_correlation"] > 0.75
        assert row["coregistration_cost"] < 0.9
        # the affine is ANTs', with which the template's mask is found
        assert set(dict(row["engines"]).values()) == {"embedded"}
        assert row["tsnr"] > 10
        assert 0.5 < row["std_dvars"] < 1.5
        assert sum(dict(row["seconds_per_step"]).values()) == pytest.approx(row["seconds"])


def test_the_second_run_of_a_participant_reuses_the_anatomy(rows):
    first, second = (dict(r["seconds_per_step"]) for r in rows)
    assert "affine" in first
    assert "affine" not in second
    a, b = (dict(r["outputs"]) for r in rows)
    assert all(a[k] == b[k] for k in ("normalisation", "t1w_preproc", "tissue"))
    assert all(a[k] != b[k] for k in ("motion", "confounds", "boldref"))


def test_two_studies_are_bit_identical(tmp_path, bids, finished, rows):
    again = configured(tmp_path, bids)
    scans.run(again, "phantom")
    preprocess.run(again, "phantom", 0, 1)
    assert files_of(again) == files_of(finished)
    table = read_table(Paths(again.results).batch("preprocess", "phantom", 0), "preprocess")
    for new, old in zip(table.to_pylist(), rows, strict=True):
        for column in set(new) - {"seconds", "seconds_per_step", "peak_rss", "peak_rss_per_step"}:
            assert new[column] == old[column], column


def test_the_transforms_lead_from_the_template_to_the_volumes(rows, finished):
    transforms = load_transforms(finished.results, rows[0]["outputs"])
    assert transforms.n_volumes == N_VOLUMES
    points = np.random.default_rng(0).uniform([-50, -80, -20], [50, 50, 60], (400, 3))
    truth = phantom.slow_motion(N_VOLUMES + 5)
    for t in (0, 23):
        rest = apply_affine(np.linalg.inv(truth[t]), transforms.template_to_volume(points, t))
        in_t1w = apply_affine(np.linalg.inv(phantom.T1W_TO_BOLD_WORLD), rest)
        error = np.linalg.norm(phantom.t1w_to_template(in_t1w) - points, axis=1)
        assert error.mean() < 3.0  # an affine cannot follow the phantom's bends of 2.5 mm


def test_confounds_have_one_row_per_volume_and_the_names_that_denoising_needs(rows, finished):
    path = finished.results / dict(rows[0]["outputs"])["confounds"]
    confounds = pd.read_csv(path, sep="\t", na_values="n/a")
    assert len(confounds) == N_VOLUMES
    wanted = {"csf", "white_matter", "global_signal", "framewise_displacement", "dvars", "rmsd"}
    assert wanted <= set(confounds)
    assert sum(c.startswith("a_comp_cor_") for c in confounds) == 10
    assert confounds["framewise_displacement"].mean() == pytest.approx(rows[0]["mean_fd"])
    assert not confounds.drop(index=0).isna().any().any()


def test_the_bold_mask_lies_inside_the_brain(rows, finished):
    outputs = dict(rows[0]["outputs"])
    mask = nib.load(finished.results / outputs["bold_mask"])
    reference = nib.load(finished.results / outputs["boldref"])
    np.testing.assert_array_equal(mask.affine, reference.affine)
    inside = np.asarray(mask.dataobj) > 0
    volume = inside.sum() * 4**3 / 1e6
    assert 1.2 < volume < 2.2  # litres
    assert reference.get_fdata()[inside].mean() > 3 * reference.get_fdata()[~inside].mean()


def test_a_row_is_of_the_published_schema(finished):
    table = read_table(Paths(finished.results).batch("preprocess", "phantom", 0), "preprocess")
    assert table.schema.remove_metadata() == pa.schema(PREPROCESS)
    entries = read_manifest(Paths(finished.results).manifest("preprocess", "phantom", 0))
    assert [e.status for e in entries] == ["ok", "ok"]


@pytest.fixture
def item(finished, tmp_path) -> PreprocessInput:
    """The first run with its anatomy, to be damaged."""
    paths = Paths(finished.results)
    row = read_table(paths.scans("phantom"), "scans").to_pylist()[0]
    derivatives = tmp_path / "results" / "preprocess" / "phantom" / "derivatives"
    shutil.copytree(paths.derivatives("phantom") / "sub-1" / "anat", derivatives / "sub-1" / "anat")
    key = stage_hash(finished, "preprocess", "phantom")
    return PreprocessInput(
        row, finished.preprocess, derivatives, tmp_path / "results", key, tmp_path / "steps"
    )


def harmed(item: PreprocessInput, settings: dict | None = None, **scan) -> PreprocessInput:
    changed = item.settings.model_copy(update=settings or {})
    return replace(item, scan=item.scan | scan, settings=changed)


def test_a_restless_run_is_excluded_with_the_numbers(item):
    with pytest.raises(ScanExcluded, match=r"mean framewise displacement 0\.\d+ mm") as caught:
        preprocess_scan(harmed(item, {"max_mean_fd": 0.01}))
    assert "24 volumes above" in caught.value.reason


def test_a_refused_run_has_its_pictures_and_the_first_reason(item):
    refusing = {"max_mean_fd": 0.01, "min_mask_dice": 0.999, "write_bold": True}
    with pytest.raises(ScanExcluded, match="mean framewise displacement") as caught:
        preprocess_scan(harmed(item, refusing))
    outputs, sha256 = (dict(caught.value.measured[k]) for k in ("outputs", "sha256"))
    assert outputs.keys() == sha256.keys() == KEYS  # no series of a run that cannot be used
    assert all((item.results / file).is_file() for file in outputs.values())
    assert caught.value.measured["mask_dice"] > 0.9


def test_a_step_that_breaks_on_a_refused_run_does_not_hide_the_reason(item):
    with pytest.raises(ScanExcluded, match="mean framewise displacement"):
        preprocess_scan(harmed(item, {"max_mean_fd": 0.01}, t1w_path=None))


def test_a_full_disk_is_no_property_of_a_refused_run():
    refusals = Refusals()
    refusals.check(refuse_registration, 0.1, Preprocess(), "bold.nii.gz")
    with pytest.raises(OSError, match="No space left"), refusals.explains():
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ScanFailed, match="Dice"), refusals.explains():
        raise np.linalg.LinAlgError("singular")


def test_a_registration_gone_wrong_is_caught(item):
    with pytest.raises(ScanFailed, match="Dice") as caught:
        preprocess_scan(harmed(item, {"min_mask_dice": 0.999}))
    assert type(caught.value) is ScanFailed


def test_a_scan_without_t1w_fails_with_the_remedy(item):
    with pytest.raises(ScanFailed, match="no T1w") as caught:
        preprocess_scan(harmed(item, t1w_path=None))
    assert caught.value.remedy


@pytest.mark.parametrize("harm", ["truncated", "constant", "noise"])
def test_a_t1w_that_is_no_head_fails(item, tmp_path, harm):
    path = tmp_path / "sub-1_T1w.nii.gz"
    if harm == "truncated":
        shutil.copy(item.scan["t1w_path"], path)
        path.write_bytes(path.read_bytes()[:20000])
    else:
        image = phantom.t1w()
        rng = np.random.default_rng(0)
        data = rng.normal(100, 10, image.shape) if harm == "noise" else np.ones(image.shape)
        phantom.save(path, phantom.image(data.astype(np.float32), image.affine))
    with pytest.raises(ScanFailed) as caught:
        preprocess_scan(harmed(item, t1w_path=str(path)))
    assert caught.value.remedy


def test_only_another_t1w_or_settings_that_matter_make_the_anatomy_anew(
    item, tmp_path, monkeypatch
):
    made = []
    monkeypatch.setattr(anatomical, "_make", lambda path, *_: made.append(path))
    copy = tmp_path / "sub-1_T1w.nii.gz"
    shutil.copy(item.scan["t1w_path"], copy)
    indifferent = item.settings.model_copy(update={"max_mean_fd": 9.0, "distortion": "none"})
    other = item.settings.model_copy(update={"registration": "syn_fast"})
    wanted = [
        (item.scan["t1w_path"], item.settings),
        (item.scan["t1w_path"], indifferent),
        (str(copy), item.settings),
        (item.scan["t1w_path"], other),
    ]
    for path, settings in wanted:
        anatomical.anatomy_of(path, item.derivatives, settings)
    assert made == [copy, Path(item.scan["t1w_path"])]


def test_preprocessed_bold_is_written_on_demand_only(item):
    row = preprocess_scan(harmed(item, {"write_bold": True})).to_pylist()[0]
    run = nib.load(item.results / dict(row["outputs"])["bold_preproc"])
    assert run.shape == (*phantom.BOLD_SHAPE, N_VOLUMES)
    assert run.header.get_zooms()[3] == phantom.T_R


def test_other_kinds_of_data_are_not_preprocessed(finished):
    dataset = finished.datasets["phantom"].model_copy(update={"kind": "derivatives"})
    config = finished.model_copy(update={"datasets": {"phantom": dataset}})
    with pytest.raises(ValueError, match="kind derivatives"):
        preprocess.run(config, "phantom", 0, 1)
