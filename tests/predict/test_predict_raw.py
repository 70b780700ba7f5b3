"""Raw BIDS goes through the package's own stages with the model's settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from predict_study import a_contract

from brainmass_core import connectivity, scans, timeseries
from brainmass_core.atlas import resolve_atlas, voronoi_atlas
from brainmass_core.config import dump_config, parse_config
from brainmass_core.config.inputs import Synthetic
from brainmass_core.config.sections import BrainLM
from brainmass_core.demo import write_demo
from brainmass_core.encoders.brainlm import model as brainlm
from brainmass_core.encoders.brainlm.implementation import IMPLEMENTATION
from brainmass_core.finetune.methods.fitting import Design, fit_method
from brainmass_core.predict import Model, Options, PredictError, predict
from brainmass_core.predict.contract import Parcels, Processing, processing_of
from brainmass_core.predict.deploy import write_model
from brainmass_core.predict.input_transform import Series
from brainmass_core.predict.model import probe
from brainmass_core.predict.serialization import storable
from brainmass_core.pretrain.data.recordings import Feed
from brainmass_core.timeseries.censor import censor_text
from brainmass_core.timeseries.design import MOTION
from brainmass_core.timeseries.filters import filter_text
from brainmass_core.timeseries.robust_scaling import RobustScaling
from brainmass_core.timeseries.table import bold_by_scan

pytestmark = pytest.mark.study


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Four synthetic heads; two images are cut short, one of them by the demo itself."""
    folder = tmp_path_factory.mktemp("raw") / "demo"
    write_demo(folder, Synthetic(n_participants=4, n_volumes=40, voxel_size=6.0))
    bold = sorted(folder.glob("sub-*/**/*_bold.nii.gz"))[1]
    bold.write_bytes(bold.read_bytes()[:2000])
    return folder, bold.name.removesuffix("_bold.nii.gz")


def model_of_raw_bids(folder, demo, make=None, **series):
    """A linear SVM on FC of made-up scans, with the contract of a study of raw BIDS.

    Or what `make` stores.
    """
    raw = {
        "datasets": {"demo": {"kind": "bids", "role": "internal", "path": str(demo)}},
        "preprocess": {
            "registration": "affine",
            "resolution": 4,
            "max_mean_fd": None,
            "max_coregistration_cost": None,
            "min_coregistration_sharpness": None,
        },
        "timeseries": series,
    }
    config = parse_config(raw)
    low, high = config.timeseries.low_hz, config.timeseries.high_hz
    done = Processing(
        denoise=config.timeseries.denoise,
        order=config.timeseries.order,
        filter=filter_text(config.timeseries.filter, low, high),
        censor=censor_text(config.timeseries.censor),
    )
    atlas = voronoi_atlas()
    return (make or store_linear)(
        folder,
        atlas=Parcels.of(atlas, "Schaefer2018-100-7networks").model_dump(),
        preprocess=config.preprocess.model_dump(),
        timeseries=config.timeseries.model_dump(),
        processing={"bids": [processing_of(config, "demo")]},
        done=[done.model_dump()],
    )


def store_series(folder, **contract) -> Model:
    """A ridge on embeddings by a BrainLM of the contract's atlas, fitted to made-up ones."""
    atlas = pd.DataFrame(contract["atlas"]["table"])
    encoder = brainlm.build("tiny", 0).eval().requires_grad_(False)
    scaling = RobustScaling((0.0,) * len(atlas), (10.0,) * len(atlas), 5)
    settings = BrainLM(window=20, t_r=2.0, other_t_r="resample")
    places = atlas[["x", "y", "z"]].to_numpy(np.float32)
    shape = IMPLEMENTATION.architecture.of(encoder).model_dump()
    fed = Series.of(Feed(settings, scaling, places, "any"), shape)
    about = a_contract(
        method="brainlm_ridge", features="brainlm", series=fed.model_dump(), **contract
    )
    made_up = np.random.default_rng(0).standard_normal((30, encoder.embedding_dim))
    design = Design(np.arange(30) % 2)
    fitted = fit_method("brainlm_ridge", made_up.astype(np.float32), design, np.arange(30), 0)
    return publish(folder, about, fitted, encoder)


def store_linear(folder, **contract) -> Model:
    """A linear SVM on made-up FC of the contract's atlas."""
    about = a_contract(**contract)
    fc = np.random.default_rng(0).standard_normal((30, about.n_edges))
    fc, design = np.tanh(fc).astype(np.float32), Design(np.arange(30) % 2)
    fitted = fit_method("fc_svm", fc, design, np.arange(30), 0)
    return publish(folder, about, fitted, None)


def publish(folder, about, fitted, encoder) -> Model:
    """The stored model."""
    fitted = replace(fitted, model=storable(fitted.model), before=None, adjust=None)
    model = Model(about, fitted, encoder)
    model = replace(model, contract=about.model_copy(update={"probe": probe(model)}))
    write_model(folder, model)
    return model


@pytest.mark.slow
def test_raw_scans_are_scored_and_a_truncated_one_stops_nobody(demo, tmp_path):
    folder, damaged = demo
    model = model_of_raw_bids(tmp_path / "model", folder, motion="6", n_compcor=0)
    work = tmp_path / "work"
    found = predict(tmp_path / "model", folder, tmp_path / "p.tsv", work=work)
    found = found.set_index("scan_id")
    assert len(found) == 4
    assert found.loc[damaged, "status"] in ("failed", "excluded")
    assert damaged in found.loc[damaged, "reason"]
    good = found[found["status"] == "ok"]
    assert len(good) >= 2
    # what the stages left is FC of the model's parcels, and scores to the same numbers
    again = predict(tmp_path / "model", work, tmp_path / "again.tsv").set_index("scan_id")
    again.index = again.index.str.removeprefix("input_")
    pd.testing.assert_series_equal(again.loc[good.index, "y_score"], good["y_score"])
    from brainmass_core.tables import read_table

    table = read_table(work / "connectivity" / "input" / "0.parquet", "connectivity").to_pandas()
    fc = np.stack(table.sort_values("scan_id")["fc"])
    assert fc.shape[1] == model.contract.n_edges
    np.testing.assert_array_equal(model.score(fc)["y_score"], good["y_score"])
    # a model on series has them from the same stages
    of_series = tmp_path / "series"
    model = model_of_raw_bids(of_series, folder, store_series, motion="6", n_compcor=0)
    table = read_table(work / "timeseries" / "input" / "0.parquet", "timeseries")
    t_r = dict(zip(table["scan_id"].to_pylist(), table["t_r"].to_pylist(), strict=True))
    bold = {s: x for s, x in bold_by_scan(table).items() if s.removeprefix("input_") in good.index}
    seen = np.stack([model.of_recording(bold[s], t_r[s]) for s in sorted(bold)])
    for given in (folder, work):
        found = predict(of_series, given, tmp_path / "p.tsv", work=work)
        scored = found.loc[found["status"] == "ok", "y_score"]
        np.testing.assert_allclose(scored, model.score(seen)["y_score"], atol=1e-6)


def not_synthetic(folder):
    """A folder that looks like raw BIDS, of which nothing is read before it is refused."""
    image = folder / "sub-01" / "func" / "sub-01_task-rest_bold.nii.gz"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"")
    return folder


def test_raw_scans_are_refused_by_a_model_of_ready_series(model_folder, tmp_path):
    raw = not_synthetic(tmp_path / "raw")
    with pytest.raises(PredictError, match=r"found data of kind bids, but .* kind timeseries"):
        predict(model_folder, raw, tmp_path / "p.tsv", options=Options(as_trained=True))


def test_a_model_of_the_approximate_atlas_is_for_synthetic_heads_alone(tmp_path):
    raw = not_synthetic(tmp_path / "raw")
    model_of_raw_bids(tmp_path / "model", raw)
    with pytest.raises(PredictError, match="--atlas"):
        predict(tmp_path / "model", raw, tmp_path / "p.tsv")


# --- derivatives


N = 80


def fmriprep(folder: Path) -> Path:
    """Two runs as fMRIPrep leaves them, the second without its confounds; an atlas beside them."""
    rng = np.random.default_rng(1)
    affine = np.diag([3.0, 3, 3, 1])
    labels = np.zeros((8, 8, 8), dtype=np.int16)
    labels[1:7, 1:7, 1:7] = np.kron(np.arange(1, 9).reshape(2, 2, 2), np.ones((3, 3, 3)))
    folder.mkdir()
    nib.save(nib.Nifti1Image(labels, affine), folder.parent / "eight.nii.gz")
    nib.save(nib.Nifti1Image(labels[::-1].copy(), affine), folder.parent / "turned.nii.gz")
    about = {"Name": "fMRIPrep", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    (folder / "dataset_description.json").write_text(json.dumps(about))
    for who in ("sub-01", "sub-02"):
        stem = folder / who / "func" / f"{who}_task-rest"
        stem.parent.mkdir(parents=True)
        space = f"{stem}_space-MNI152NLin2009cAsym"
        bold = nib.Nifti1Image(rng.normal(1000, 20, (8, 8, 8, N)).astype(np.float32), affine)
        bold.header["pixdim"][4] = 2.0
        bold.header.set_xyzt_units("mm", "sec")
        nib.save(bold, f"{space}_desc-preproc_bold.nii.gz")
        Path(f"{space}_desc-preproc_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
        mask = nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), affine)
        nib.save(mask, f"{space}_desc-brain_mask.nii.gz")
        if who == "sub-01":
            confounds = pd.DataFrame(rng.normal(0, 0.1, (N, 6)), columns=MOTION)
            confounds["framewise_displacement"] = [np.nan, *rng.uniform(0.1, 0.3, N - 1)]
            name = f"{stem}_desc-confounds_timeseries.tsv"
            confounds.to_csv(name, sep="\t", na_rep="n/a", index=False)
    return folder


@pytest.mark.parametrize("make", [store_linear, store_series])
def test_derivatives_are_scored_with_the_atlas_of_the_model_and_no_other(tmp_path, make):
    folder = fmriprep(tmp_path / "derivatives")
    raw = {
        "results": str(tmp_path / "results"),
        "datasets": {"a": {"kind": "derivatives", "role": "internal", "path": str(folder)}},
        "atlas": {
            "name": "eight",
            "path": str(tmp_path / "eight.nii.gz"),
            "space": "MNI152NLin2009cAsym",
        },
        "timeseries": {"motion": "6", "n_compcor": 0, "csf": False},
    }
    config = parse_config(raw)
    scans.run(config, "a")
    timeseries.run(config, "a", 0)
    connectivity.run(config, "a", 0)
    (tmp_path / "results" / "config.yaml").write_text(dump_config(config))
    made = config.timeseries
    done = Processing(
        denoise=made.denoise,
        order=made.order,
        filter=filter_text(made.filter, made.low_hz, made.high_hz),
        censor=censor_text(made.censor),
    )
    model = tmp_path / "model"
    make(
        model,
        atlas=Parcels.of(resolve_atlas(config), "eight").model_dump(),
        timeseries=made.model_dump(),
        processing={"derivatives": [processing_of(config, "a")]},
        done=[done.model_dump()],
    )
    expected = predict(model, tmp_path / "results", tmp_path / "results.tsv")
    assert expected["status"].tolist() == ["ok", "excluded"]
    given = Options(atlas=tmp_path / "eight.nii.gz")
    found = predict(model, folder, tmp_path / "raw.tsv", options=given)
    assert found["status"].tolist() == ["ok", "excluded"]
    assert found["y_score"].iloc[0] == expected["y_score"].iloc[0]
    with pytest.raises(PredictError, match=r"the model's atlas is .* image by --atlas$"):
        predict(model, folder, tmp_path / "raw.tsv")
    turned = Options(atlas=tmp_path / "turned.nii.gz")
    with pytest.raises(PredictError, match=r"turned.nii.gz: found an atlas with sha256 .*--atlas"):
        predict(model, folder, tmp_path / "raw.tsv", options=turned)
