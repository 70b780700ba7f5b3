"""Raw BIDS goes through the package's own stages with the model's settings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_predict_stage import a_contract

from brainmass_core.atlas import voronoi_atlas
from brainmass_core.config import parse_config
from brainmass_core.config.inputs import Synthetic
from brainmass_core.demo import write_demo
from brainmass_core.finetune.methods import Design, fit_method
from brainmass_core.predict import Model, Options, PredictError, predict
from brainmass_core.predict.codec import storable
from brainmass_core.predict.contract import Done, Parcels, processing_of
from brainmass_core.predict.deploy import write_model
from brainmass_core.predict.model import probe
from brainmass_core.timeseries.censor import censor_text
from brainmass_core.timeseries.filters import filter_text


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Four synthetic heads; two images are cut short, one of them by the demo itself."""
    folder = tmp_path_factory.mktemp("raw") / "demo"
    write_demo(folder, Synthetic(n_participants=4, n_volumes=40, voxel_size=6.0))
    bold = sorted(folder.glob("sub-*/**/*_bold.nii.gz"))[1]
    bold.write_bytes(bold.read_bytes()[:2000])
    return folder, bold.name.removesuffix("_bold.nii.gz")


def model_of_raw_bids(folder, demo, **series):
    """A linear SVM on FC of made-up scans, with the contract of a study of raw BIDS."""
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
    rng = np.random.default_rng(0)
    fc = np.tanh(rng.standard_normal((30, 4950))).astype(np.float32)
    design = Design(np.arange(30) % 2)
    fitted = fit_method("fc_svm", fc, design, np.arange(30), 0)
    fitted = type(fitted)("classification", storable(fitted.model), None, None, fitted.rows)
    low, high = config.timeseries.low_hz, config.timeseries.high_hz
    done = Done(
        denoise=config.timeseries.denoise,
        order=config.timeseries.order,
        filter=filter_text(config.timeseries.filter, low, high),
        censor=censor_text(config.timeseries.censor),
    )
    atlas = voronoi_atlas()
    contract = a_contract(
        atlas=Parcels.of(atlas, "Schaefer2018-100-7networks").model_dump(),
        preprocess=config.preprocess.model_dump(),
        timeseries=config.timeseries.model_dump(),
        processing={"bids": [processing_of(config, "demo")]},
        done=[done.model_dump()],
    )
    model = Model(contract, fitted, None)
    model = Model(contract.model_copy(update={"probe": probe(model)}), fitted, None)
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
