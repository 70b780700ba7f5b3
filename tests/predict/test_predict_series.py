"""A model on series sees new recordings as it saw those of its training, or refuses them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from predict_study import TASK, Made, fit, publish, with_settings
from synthetic_series_study import (
    BUILD,
    WINDOW,
    about_model,
    embedding_by_hand,
    series_of,
    set_series,
    spoil,
    write_series_study,
)
from synthetic_study import N_ROIS

from brainmass_core.checksums import sealed
from brainmass_core.encoders.registry import METHODS
from brainmass_core.finetune import run
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.finetune.confounds import confounds_of
from brainmass_core.finetune.methods.features import Features
from brainmass_core.predict import ContractError, Model, Options, PredictError, deploy, predict
from brainmass_core.tables import read_table
from brainmass_core.timeseries.sampling import resampled

pytestmark = pytest.mark.study

FAST = ("series_svm", "brainlm_svm", "brainlm_logistic", "brainlm_finetune")
SLOW = pytest.mark.slow
STORED = [
    name if name in FAST else pytest.param(name, marks=SLOW)
    for name, method in METHODS.items()
    if method.series
]
METHOD = "brainlm_ridge"
NAMES = [f"roi-{i}" for i in range(N_ROIS)]
FILE = "sub-a_task-rest_space-MNI152_atlas-rings_stat-mean_timeseries.tsv"
TRUST = Options(as_trained=True)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Recordings of two windows and a rest; nobody changes it."""
    study = write_series_study(
        tmp_path_factory.mktemp("series"),
        n_timepoints=2 * WINDOW + 7,
        methods=(METHOD,),
        n_participants=30,
    )
    return with_settings(study, neural={"max_epochs": 2})


@pytest.fixture(scope="module")
def folder(study, fitted, tmp_path_factory) -> Path:
    """A stored ridge on embeddings."""
    return publish(study, tmp_path_factory.mktemp("model"), fitted(METHOD).model)


@pytest.fixture(scope="module")
def scored(study, folder, tmp_path_factory) -> pd.DataFrame:
    """What that model says of the results folder of the study."""
    return predict(folder, study.config.results, tmp_path_factory.mktemp("scored") / "p.tsv")


def by_the_fitted(study, method: str, fitted) -> pd.DataFrame:
    """What the estimator of the finetune stage says of its training scans."""
    data = assemble(study.config, TASK)
    features = Features(study.config, data)[METHODS[method].given]
    found = pd.DataFrame(fitted.score(features, confounds_of(data.scans)))
    return found.set_index(data.scans["scan_id"])


def check(study, made: Made, tmp_path: Path) -> None:
    model, fitted = made
    method = model.contract.method
    publish(study, tmp_path / "model", model)
    found = predict(tmp_path / "model", study.config.results, tmp_path / "p.parquet")
    expected = by_the_fitted(study, method, fitted)
    found = found.set_index("scan_id").loc[expected.index]
    np.testing.assert_allclose(found["y_score"], expected["y_score"], rtol=0, atol=1e-6)
    if model.contract.classes:
        classes = np.array(model.contract.classes)
        assert found["y_pred"].tolist() == classes[expected["y_pred"].astype(int)].tolist()


@pytest.mark.parametrize("method", STORED)
def test_training_scans_get_what_the_fitted_estimator_says(study, fitted, tmp_path, method):
    check(study, fitted(method), tmp_path)


def test_the_model_of_images_is_stored_too(tmp_path):
    study = write_series_study(
        tmp_path, model="brainlm-vit-tiny", n_timepoints=2 * WINDOW + 7, n_participants=30
    )
    check(study, fit(study, "brainlm_svm"), tmp_path)


@pytest.mark.parametrize("method", ["brainlm_ridge", "series_svm", "brainlm_finetune"])
def test_numbers_and_their_confounds_are_stored_too(study, tmp_path, method):
    task = study.config.tasks[TASK].model_dump(mode="json")
    task |= {"kind": "regression", "label": "dx", "classes": {}, "transform": "zscore"}
    task |= {"confounds": "regress"}
    numbers = with_settings(study, tasks={TASK: task})
    check(numbers, fit(numbers, method), tmp_path)


@pytest.mark.slow
def test_a_model_in_reference_mode_keeps_its_mode(tmp_path):
    reference = {"mode": "reference"}
    study = write_series_study(tmp_path, n_participants=30, n_timepoints=80, brainlm=reference)
    build = BUILD["brainlm-tiny"]
    about = about_model(study)
    build("tiny", seed=3, mode="reference").save_pretrained(
        study.paths.pretrain("brainlm-tiny"), about | reference
    )
    study = with_settings(study, neural={"max_epochs": 1})
    for method in (METHOD, "brainlm_finetune"):
        check(study, fit(study, method), tmp_path)
    assert Model.load(tmp_path / "model").fitted.model.recipe.mode == "reference"


def test_a_value_missing_in_the_midst_of_a_series_refuses_that_scan_alone(
    study, folder, scored, tmp_path
):
    shutil.copytree(study.config.results, tmp_path / "results")
    path = (
        tmp_path
        / "results"
        / study.paths.batch("timeseries", "demo", 0).relative_to(study.config.results)
    )
    scan = read_table(path, "timeseries")["scan_id"][2].as_py()
    whole = scored.set_index("scan_id")
    spoil(path, scan)
    found = predict(folder, tmp_path / "results", tmp_path / "p.parquet").set_index("scan_id")
    assert found.loc[scan, "status"] == "refused"
    assert "1 parcels, such as 4 (from 0), are missing" in found.loc[scan, "reason"]
    others = found.index != scan
    assert found.loc[others, "status"].eq(whole.loc[others, "status"]).all()
    scores = (table.loc[others, "y_score"] for table in (found, whole))
    np.testing.assert_allclose(*scores, rtol=1e-5)  # of fewer rows BLAS rounds in another way


# --- ready series


def write_npy(study, place: Path, n: int = 3) -> list[str]:
    """Series of some scans as files without a word about their provenance."""
    place.mkdir()
    chosen = sorted(series_of(study).items())[4 : 4 + n]
    for scan_id, series in chosen:
        np.save(place / f"{scan_id}.npy", series)
    return [scan_id for scan_id, _ in chosen]


def write_tsv(place: Path, series: np.ndarray, **about: object) -> Path:
    """A series with a sidecar, as `timeseries` writes it."""
    file = place / FILE
    names = [f"roi-{i}" for i in range(series.shape[1])]
    pd.DataFrame(series, columns=names).to_csv(file, sep="\t", index=False)
    known = {"Atlas": "rings", "RepetitionTime": 2.0, "Denoise": None}
    file.with_suffix(".json").write_text(json.dumps(known | about))
    return file


def test_ready_series_get_the_scores_of_the_table(study, folder, scored, tmp_path):
    names = write_npy(study, tmp_path / "series")
    expected = scored.set_index("scan_id")
    for options in (TRUST, Options(as_trained=True, t_r=2.0)):
        found = predict(folder, tmp_path / "series", tmp_path / "p.tsv", options=options)
        found = found.set_index("scan_id")
        np.testing.assert_allclose(found["y_score"], expected.loc[names, "y_score"], atol=1e-6)
    with pytest.raises(PredictError, match="nothing says which atlas"):
        predict(folder, tmp_path / "series", tmp_path / "p.tsv")
    wrong = Options(as_trained=True, t_r=1.0)
    with pytest.raises(PredictError, match=r"found a repetition time of 1 s, expected 2 s"):
        predict(folder, tmp_path / "series", tmp_path / "p.tsv", options=wrong)


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({}, None),
        ({"Atlas": "other"}, "found the atlas other, the model's is rings"),
        ({"Denoise": "36p"}, "found series with denoise: 36p"),
        ({"RepetitionTime": 0.7}, "found a repetition time of 0.7 s, expected 2 s"),
        ({"RepetitionTime": None}, "unknown, expected 2 s; give it by --t-r"),
    ],
)
def test_recordings_that_do_not_fit_are_refused(study, folder, scored, tmp_path, about, reason):
    series = series_of(study)["demo_s05_run-0"]
    file = write_tsv(tmp_path, series, **about)
    if reason is not None:
        with pytest.raises(PredictError, match=f"{file.name}: .*{reason}.*make the input again"):
            predict(folder, tmp_path, tmp_path / "p.parquet")
        return
    found = predict(folder, tmp_path, tmp_path / "p.parquet").iloc[0]
    expected = scored.set_index("scan_id")
    assert found["y_score"] == pytest.approx(expected.loc["demo_s05_run-0", "y_score"], abs=1e-6)


def test_series_of_other_parcels_stop_nobody(study, folder, tmp_path):
    names = write_npy(study, tmp_path / "series")
    series = series_of(study)[names[0]]
    np.save(tmp_path / "series" / "narrow.npy", series[:, :-1])
    found = predict(folder, tmp_path / "series", tmp_path / "p.tsv", options=TRUST)
    found = found.set_index("scan_id")
    assert (found.loc[names, "status"] == "ok").all()
    assert found.loc["narrow", "status"] != "ok"
    assert "19" in found.loc["narrow", "reason"]


def test_another_repetition_time_is_resampled_if_training_did_so(tmp_path):
    study = write_series_study(
        tmp_path, n_participants=30, n_timepoints=80, brainlm={"other_t_r": "resample"}
    )
    folder = publish(study, tmp_path / "model", fit(study, METHOD).model)
    scan = "demo_s05_run-0"
    fast = resampled(series_of(study)[scan], 2.0, 1.0)
    (tmp_path / "given").mkdir()
    write_tsv(tmp_path / "given", fast, RepetitionTime=1.0)
    out = tmp_path / "embeddings.parquet"
    predict(folder, tmp_path / "given", tmp_path / "p.tsv", out)
    found = read_table(out, "embeddings").to_pandas()["embedding"][0]
    model, scaling = BUILD["brainlm-tiny"]("tiny", seed=3).eval(), about_model(study)["scaling"]
    by_hand = embedding_by_hand(model, resampled(fast, 1.0, 2.0), scaling)
    np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-5)


# --- other input


def test_fc_alone_is_refused_and_what_is_needed_is_said(study, folder, tmp_path):
    table = study.paths.batch("connectivity", "demo", 0)
    matrix = tmp_path / "sub-a_atlas-rings_stat-pearsoncorrelation_relmat.tsv"
    pd.DataFrame(np.eye(N_ROIS), columns=NAMES).to_csv(matrix, sep="\t", index=False)
    for given in (table, matrix, tmp_path):
        with pytest.raises(
            PredictError, match=f"{given}: found FC, but the model's {METHOD} needs"
        ):
            predict(folder, given, tmp_path / "p.tsv", options=TRUST)


def test_results_need_their_series_and_no_fc(study, folder, scored, tmp_path):
    copy = tmp_path / "results"
    shutil.copytree(study.config.results, copy)
    shutil.rmtree(copy / "connectivity")
    found = predict(folder, copy, tmp_path / "p.tsv")
    pd.testing.assert_series_equal(found["y_score"], scored["y_score"])
    assert found.set_index("scan_id").loc["demo_s00_run-0", "status"] == "excluded"
    (copy / "timeseries" / "demo" / "1.parquet").unlink()
    half = predict(folder, copy, tmp_path / "p.tsv")
    lost = half[half["reason"] == "no row in the time-series table"]
    assert set(lost["status"]) == {"failed"}
    assert len(lost) > 10


def test_short_recordings_are_refused_and_the_others_scored(tmp_path):
    study = write_series_study(
        tmp_path, n_participants=30, n_timepoints=2 * WINDOW, brainlm={"window": 2 * WINDOW}
    )
    folder = publish(study, tmp_path / "model", fit(study, METHOD).model)
    whole = series_of(study)
    short = "demo_s05_run-0"
    set_series(study, {short: whole[short][:-1]})
    found = predict(folder, study.config.results, tmp_path / "p.tsv").set_index("scan_id")
    assert found.loc[short, "status"] == "refused"
    assert "found 79 timepoints, expected 80 or more" in found.loc[short, "reason"]
    assert (found["status"] == "ok").sum() == len(whole) - 1
    (tmp_path / "given").mkdir()
    write_tsv(tmp_path / "given", whole[short][:-1])
    with pytest.raises(PredictError, match=f"{FILE}: found 79 timepoints, expected 80 or more"):
        predict(folder, tmp_path / "given", tmp_path / "p.tsv")


@pytest.mark.parametrize("method", ["brainlm_svm", "untrained_brainlm_logistic"])
def test_embeddings_are_those_of_the_features(study, data, fitted, tmp_path, method):
    publish(study, tmp_path / "model", fitted(method).model)
    out = tmp_path / "embeddings.parquet"
    predict(tmp_path / "model", study.config.results, tmp_path / "p.parquet", out)
    table = read_table(out, "embeddings").to_pandas().set_index("scan_id")["embedding"]
    expected = Features(study.config, data)[METHODS[method].given]
    found = np.stack(table.loc[data.scans["scan_id"]])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_trained_encoder_embeds_the_first_window(study, fitted, tmp_path):
    publish(study, tmp_path / "model", fitted("brainlm_finetune").model)
    model, out = Model.load(tmp_path / "model"), tmp_path / "embeddings.parquet"
    predict(tmp_path / "model", study.config.results, tmp_path / "p.parquet", out)
    table = read_table(out, "embeddings").to_pandas().set_index("scan_id")["embedding"]
    network, scan = model.fitted.model.network_, "demo_s05_run-0"
    assert not network.model.state_dict()["signal.weight"].equal(
        BUILD["brainlm-tiny"]("tiny", seed=3).state_dict()["signal.weight"]
    )
    scaling = about_model(study)["scaling"]
    by_hand = embedding_by_hand(network.model, series_of(study)[scan], scaling, n_windows=1)
    np.testing.assert_allclose(table[scan], by_hand, rtol=1e-4, atol=1e-5)


def test_the_raw_series_have_no_embedding(study, fitted, tmp_path):
    publish(study, tmp_path / "model", fitted("series_svm").model)
    with pytest.raises(PredictError, match=r"series_svm has no encoder.*brainlm_\*"):
        predict(
            tmp_path / "model", study.config.results, tmp_path / "p.tsv", tmp_path / "e.parquet"
        )


# --- the folder


def halved(contract: dict) -> dict:
    contract["series"]["scaling"]["iqr"][0] *= 0.5
    return contract


def moved(contract: dict) -> dict:
    contract["series"]["coordinates"] = [[0, 0, 0]] * N_ROIS
    return contract


def without_one(contract: dict) -> dict:
    contract["series"]["coordinates"].pop()
    return contract


def of_images(contract: dict) -> dict:
    contract["series"]["encoder"]["architecture"] = "BrainLMViT"
    return contract


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (halved, "contract.json: series: .*scaling of version 1 without the stored sha256"),
        (moved, "on synthetic input the model gives"),
        (without_one, r"contract.json: series: .*are of \[19, 20\] parcels"),
        (of_images, "encoder: .*tensors are missing"),
        (lambda c: c | {"series": None}, "features brainlm do not go with series None"),
    ],
)
def test_a_contract_of_another_feed_is_refused(study, folder, tmp_path, change, message):
    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model" / "contract.json"
    path.write_text(json.dumps(sealed(change(json.loads(path.read_text())))))
    with pytest.raises(ContractError, match=message):
        Model.load(tmp_path / "model")


def test_a_study_with_a_brainlm_leaves_a_model_of_it_that_names_nobody(tmp_path):
    study = write_series_study(
        tmp_path, n_participants=30, n_timepoints=80, methods=("fc_svm", METHOD)
    )
    run(study.config, TASK)
    deploy(study.config, TASK)
    stored = study.paths.deployed(TASK)
    contract = Model.load(stored).contract
    assert (contract.method, contract.encoder) == (METHOD, None)
    assert contract.series.window == WINDOW
    everything = b"".join(f.read_bytes() for f in stored.iterdir()).decode("latin-1")
    for who in ("demo_s05", "s05_run", "/data/s05.npy", str(tmp_path)):
        assert who not in everything
    assert "decoder." not in everything
    text = (stored / "README.md").read_text()
    assert "from its time series by a frozen BrainLM" in text
    assert f"windows of {WINDOW} timepoints" in text
    assert "t_r 2 s, others are refused" in text
