"""New scans are scored as the model scores them, or refused with what was found and expected."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from predict_study import TASK, fit, publish, with_settings
from synthetic_study import N_ROIS, write_study

from brainmass_core.checksums import sealed
from brainmass_core.config import dump_config
from brainmass_core.config.tasks import Finetune
from brainmass_core.connectivity import pearson, unvectorise
from brainmass_core.finetune import TaskError, run
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.finetune.confounds import confounds_of
from brainmass_core.predict import (
    ContractError,
    Model,
    Options,
    PredictError,
    deploy,
    predict,
)
from brainmass_core.predict.deploy import write_model as store
from brainmass_core.tables import PREDICTED, read_table

pytestmark = pytest.mark.study

TRUST = Options(as_trained=True)


@pytest.fixture(scope="module")
def truth(data, fitted) -> pd.DataFrame:
    """Scores of the labelled scans by the model in memory, by scan."""
    found = fitted("fc_svm").model.score(data.fc)
    names = np.array(["control", "patient"])
    return found.assign(
        scan_id=data.scans["scan_id"], name=names[found["y_pred"].astype(int)]
    ).set_index("scan_id")


def test_the_labelled_scans_of_a_results_folder_get_the_scores_of_the_model_in_memory(
    study, model_folder, truth, tmp_path
):
    out = tmp_path / "new" / "predictions.parquet"
    predict(model_folder, study.config.results, out)
    table = read_table(out, "predicted")
    assert table.schema.names == PREDICTED.names
    found = table.to_pandas().set_index("scan_id").loc[truth.index]
    assert set(found["status"]) == {"ok"}
    np.testing.assert_array_equal(found["y_score"], truth["y_score"])
    assert found["y_pred"].tolist() == truth["name"].tolist()


def test_every_scan_stands_in_the_table_with_what_became_of_it(study, model_folder, tmp_path):
    found = predict(model_folder, study.config.results, tmp_path / "p.tsv").set_index("scan_id")
    assert set(found.index) == set(study.scans["scan_id"])
    assert found.loc["demo_s00_run-0", "status"] == "excluded"
    assert "file is truncated" in found.loc["demo_s00_run-0", "reason"]
    assert found.loc["demo_s03_run-0", "status"] == "excluded"
    assert found.loc["demo_s01_run-0", "status"] == "ok"  # no label is needed
    assert found.loc[found["status"] != "ok", "y_pred"].isna().all()
    written = pd.read_csv(tmp_path / "p.tsv", sep="\t", na_values="n/a")
    assert list(written.columns) == list(found.reset_index().columns)
    np.testing.assert_allclose(written.set_index("scan_id")["y_score"], found["y_score"])


def test_probabilities_carry_the_names_of_the_classes(study, fitted, tmp_path):
    folder = tmp_path / "model"
    store(folder, fitted("fc_logistic").model)
    (study.config.results / "config.yaml").write_text(dump_config(study.config))
    found = predict(folder, study.config.results, tmp_path / "p.parquet")
    scored = found[found["status"] == "ok"]
    total = scored["probability_control"] + scored["probability_patient"]
    np.testing.assert_allclose(total, 1)
    likely = np.where(scored["probability_patient"] > 0.5, "patient", "control")
    assert likely.tolist() == scored["y_pred"].tolist()


def test_the_second_class_is_that_of_the_task_and_not_of_the_alphabet(study, tmp_path):
    task = study.config.tasks[TASK].model_dump(mode="json")
    task["classes"] = {"zz": ["1"], "aa": ["2"]}
    turned = with_settings(study, tasks={TASK: task})
    folder = tmp_path / "model"
    store(folder, fit(turned, "fc_svm").model)
    found = predict(folder, study.config.results, tmp_path / "p.parquet")
    scored = found[found["status"] == "ok"]
    assert (scored["y_pred"] == "aa").tolist() == (scored["y_score"] > 0).tolist()


@pytest.mark.parametrize(
    "method",
    [
        *("brainmass_svm", "brainmass_tokens_svm", "brainmass_projection_svm"),
        *("brainmass_finetune", "brainmass_lora"),
    ],
)
def test_embeddings_are_those_of_the_encoder(study, data, fitted, tmp_path, method):
    folder = tmp_path / "model"
    store(folder, fitted(method).model)
    out = tmp_path / "embeddings.parquet"
    found = predict(folder, study.config.results, tmp_path / "p.parquet", out)
    table = read_table(out, "embeddings").to_pandas()
    assert table["scan_id"].tolist() == found.loc[found["status"] == "ok", "scan_id"].tolist()
    assert np.stack(table["embedding"]).shape[1] == 8 * N_ROIS
    if method.endswith("_svm"):  # not what the method is given
        from brainmass_core.finetune.methods.features import Features

        expected = Features(study.config, data)["brainmass"]
        rows = table.set_index("scan_id").loc[data.scans["scan_id"], "embedding"]
        np.testing.assert_allclose(np.stack(rows), expected, atol=1e-5)


def test_a_method_without_an_encoder_has_no_embeddings(study, model_folder, tmp_path):
    with pytest.raises(PredictError, match=r"fc_svm has no encoder.*brainmass_\*"):
        predict(model_folder, study.config.results, tmp_path / "p.tsv", tmp_path / "e.parquet")


# --- other kinds of input


@pytest.fixture
def folder_of_series(study, tmp_path) -> Path:
    """The series of three scans as files, and a fourth that is damaged."""
    folder = tmp_path / "series"
    folder.mkdir()
    table = read_table(study.paths.batch("timeseries", "demo", 0), "timeseries").to_pylist()
    for row in table[2:5]:
        np.save(folder / f"{row['scan_id']}.npy", np.array(row["bold"], dtype=np.float32))
    (folder / "bad.npy").write_bytes(b"\x93NUMPY")
    return folder


def test_series_are_brought_to_fc_and_a_damaged_one_stops_nobody(
    model_folder, folder_of_series, truth, tmp_path
):
    found = predict(model_folder, folder_of_series, tmp_path / "p.tsv", options=TRUST)
    found = found.set_index("scan_id")
    assert found.loc["bad", "status"] == "excluded"
    assert "bad.npy" in found.loc["bad", "reason"]
    good = found[found["status"] == "ok"]
    assert len(good) == 3
    np.testing.assert_allclose(good["y_score"], truth.loc[good.index, "y_score"], atol=1e-5)


def test_columns_of_series_are_put_right_by_name_and_other_names_are_refused(
    study, model_folder, truth, tmp_path
):
    table = read_table(study.paths.batch("timeseries", "demo", 0), "timeseries").to_pylist()
    row = table[2]
    series = np.array(row["bold"])
    names = Model.load(model_folder).contract.atlas.names
    turn = np.random.default_rng(0).permutation(len(names))
    files = {"as is": (names, series), "turned": ([names[i] for i in turn], series[:, turn])}
    files["others"] = [f"X{n}" for n in names], series
    folder = tmp_path / "named"
    folder.mkdir()
    for name, (header, values) in files.items():
        pd.DataFrame(values, columns=header).to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    found = predict(model_folder, folder, tmp_path / "p.tsv", options=TRUST).set_index("scan_id")
    for name in ("as is", "turned"):
        expected = truth.loc[row["scan_id"], "y_score"]
        np.testing.assert_allclose(found.loc[name, "y_score"], expected, atol=1e-5)
    assert "names that the atlas does not have" in found.loc["others", "reason"]
    assert "; use series of the atlas" in found.loc["others", "reason"]
    assert np.isnan(found.loc["others", "y_score"])


def test_one_file_is_enough_and_its_neighbours_are_left_alone(
    model_folder, folder_of_series, tmp_path
):
    file = sorted(folder_of_series.glob("demo_*"))[0]
    found = predict(model_folder, file, tmp_path / "p.tsv", options=TRUST)
    assert found["scan_id"].tolist() == [file.stem]


def test_series_that_say_nothing_are_refused_until_the_user_vouches_for_them(
    model_folder, folder_of_series, tmp_path
):
    with pytest.raises(PredictError, match=r"none of 4 scans.*|--as-trained") as refused:
        predict(model_folder, folder_of_series, tmp_path / "p.tsv")
    written = pd.read_csv(tmp_path / "p.tsv", sep="\t")
    assert set(written["status"]) == {"excluded", "refused"}
    reasons = written.loc[written["status"] == "refused", "reason"]
    assert reasons.str.contains("nothing says which atlas.*--as-trained").all()
    assert refused


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({}, None),
        ({"Atlas": "other"}, "found the atlas other, the model's is rings"),
        ({"Filter": "ideal 0.01-0.2 Hz"}, "filter: ideal 0.01-0.2 Hz"),
        ({"RepetitionTime": 0.7}, "found t_r 0.7 s"),
    ],
)
def test_series_are_judged_by_their_sidecars_whatever_the_user_says(
    study, model_folder, truth, tmp_path, about, reason
):
    table = read_table(study.paths.batch("timeseries", "demo", 0), "timeseries").to_pylist()
    file = tmp_path / "sub-a_task-rest_space-MNI152_atlas-rings_stat-mean_timeseries.tsv"
    pd.DataFrame(table[2]["bold"], columns=NAMES).to_csv(file, sep="\t", index=False)
    known = {"Atlas": "rings", "RepetitionTime": 2.0, "Denoise": None}
    file.with_suffix(".json").write_text(json.dumps(known | about))
    if reason is None:
        found = predict(model_folder, tmp_path, tmp_path / "p.parquet").iloc[0]
        expected = truth.loc[table[2]["scan_id"], "y_score"]
        assert (found["status"], found["participant_id"]) == ("ok", "sub-a")
        assert found["y_score"] == pytest.approx(expected, abs=1e-5)
    else:
        with pytest.raises(PredictError, match=f"{file.name}: .*{reason}.*make the input again"):
            predict(model_folder, tmp_path, tmp_path / "p.parquet", options=TRUST)


def write_matrix(file: Path, fc: np.ndarray, names: list[str], **about: object) -> Path:
    """FC as `connectivity` writes it."""
    pd.DataFrame(unvectorise(fc), columns=names).to_csv(file, sep="\t", index=False)
    known = {
        "Estimator": "pearson",
        "Denoise": None,
        "FilterOrder": None,
        "Filter": None,
        "Censoring": None,
    }
    file.with_suffix(".json").write_text(json.dumps(known | about))
    return file


NAMES = [f"roi-{i}" for i in range(N_ROIS)]
STEM = "sub-a_task-rest_space-MNI152_atlas-rings_stat-pearsoncorrelation_relmat.tsv"


def test_a_matrix_is_scored_as_the_row_of_the_table(data, model_folder, truth, tmp_path):
    write_matrix(tmp_path / STEM, data.fc[0], NAMES)
    found = predict(model_folder, tmp_path / STEM, tmp_path / "p.tsv").iloc[0]
    assert (found["status"], found["participant_id"]) == ("ok", "sub-a")
    assert found["y_score"] == pytest.approx(truth["y_score"].iloc[0], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "names", "about", "reason"),
    [
        (STEM.replace("rings", "other"), NAMES, {}, "found the atlas other, the model's is rings"),
        (STEM, [*NAMES[:-1], "thalamus"], {}, "thalamus"),  # in another order: test_predict_order
        (
            STEM,
            NAMES,
            {"Estimator": "ledoit_wolf"},
            "estimator ledoit_wolf, the model's is pearson",
        ),
        (STEM, NAMES, {"Denoise": "36p"}, "found series with denoise: 36p"),
        (STEM, NAMES, {"FilterOrder": "joint"}, "order: joint, filter: None.*the model's have"),
        (STEM, NAMES, {"Filter": "ideal 0.01-0.2 Hz"}, "filter: ideal 0.01-0.2 Hz"),
    ],
)
def test_a_matrix_of_other_origin_is_refused(
    data, model_folder, tmp_path, name, names, about, reason
):
    write_matrix(tmp_path / name, data.fc[0], names, **about)
    with pytest.raises(PredictError, match=f"{name}.*{reason}.*make the input again"):
        predict(model_folder, tmp_path / name, tmp_path / "p.tsv", options=TRUST)


def test_a_matrix_of_fewer_parcels_is_refused(model_folder, tmp_path):
    rng = np.random.default_rng(0)
    fc = pearson(rng.standard_normal((50, 10)))[np.triu_indices(10, 1)]
    write_matrix(tmp_path / STEM, fc, NAMES[:10])
    with pytest.raises(PredictError, match=r"found FC of 45 edges.*has 20 parcels, 190 edges"):
        predict(model_folder, tmp_path / STEM, tmp_path / "p.tsv")


def test_a_broken_matrix_is_recorded_and_its_neighbour_scored(data, model_folder, tmp_path):
    folder = tmp_path / "fc"
    folder.mkdir()
    write_matrix(folder / STEM, data.fc[0], NAMES)
    write_matrix(folder / STEM.replace("sub-a", "sub-b"), 3 * data.fc[1], NAMES)
    (folder / STEM.replace("sub-a", "sub-c")).write_text("roi-0\troi-1\n1\tx\n")
    found = predict(model_folder, folder, tmp_path / "p.tsv")
    assert found["status"].tolist() == ["ok", "failed", "failed"]
    assert "outside -1 to 1" in found["reason"].iloc[1]
    assert "cannot be read as a matrix" in found["reason"].iloc[2]


def test_a_table_of_fc_alone_needs_the_users_word(study, model_folder, truth, tmp_path):
    path = study.paths.batch("connectivity", "demo", 1)
    with pytest.raises(PredictError, match="nothing says which atlas"):
        predict(model_folder, path, tmp_path / "p.tsv")
    found = predict(model_folder, path, tmp_path / "p.tsv", options=TRUST).set_index("scan_id")
    both = found.index.intersection(truth.index)
    np.testing.assert_array_equal(found.loc[both, "y_score"], truth.loc[both, "y_score"])


# --- refusals


@pytest.mark.parametrize(
    ("sections", "found"),
    [
        ({"connectivity": {"estimator": "ledoit_wolf"}}, "estimator: found ledoit_wolf"),
        ({"atlas": {"name": "other"}}, "atlas.name: found other, the model's is rings"),
        (
            {"datasets": {"demo": {"kind": "derivatives", "role": "internal", "path": "."}}},
            "datasets.demo.kind: found derivatives, the model's is timeseries",
        ),
        (
            {
                "datasets": {
                    "demo": {
                        "kind": "timeseries",
                        "role": "internal",
                        "path": ".",
                        "batches": 2,
                        "band_pass": True,
                    }
                }
            },
            "band_pass: found True, the model's is False",
        ),
    ],
)
def test_results_of_other_settings_are_refused(study, model_folder, tmp_path, sections, found):
    other = tmp_path / "other.yaml"
    other.write_text(dump_config(with_settings(study, **sections).config))
    with pytest.raises(PredictError, match=f"(?s){study.config.results}.*{found}.*make the input"):
        predict(model_folder, study.config.results, tmp_path / "p.tsv", config=other)


def test_missing_confounds_are_asked_for_and_taken_from_a_table(study, data, tmp_path):
    task = study.config.tasks[TASK].model_dump(mode="json")
    task |= {"confounds": "regress", "confound_columns": ["age", "sex"]}
    folder = tmp_path / "model"
    model = fit(with_settings(study, tasks={TASK: task}), "fc_ridge").model
    store(folder, model)
    write_matrix(tmp_path / STEM, data.fc[0], NAMES)
    with pytest.raises(
        PredictError, match=r"adjusts features for age, sex .*age, sex is not known.*--pheno"
    ):
        predict(folder, tmp_path / STEM, tmp_path / "p.tsv")
    table = tmp_path / "people.tsv"
    table.write_text("participant_id\tage\tsex\nsub-a\t33\tF\n")
    options = Options(phenotype=table)
    found = predict(folder, tmp_path / STEM, tmp_path / "p.tsv", options=options)
    known = pd.DataFrame({"site": ["unknown"], "sex": ["F"], "age": [33.0], "mean_fd": [np.nan]})
    expected = model.score(data.fc[:1], known)["y_score"].iloc[0]
    assert found["y_score"].iloc[0] == pytest.approx(expected, abs=1e-5)
    table.write_text("participant_id\tage\tsex\nsub-a\t33\tfemale\n")
    again = predict(folder, tmp_path / STEM, tmp_path / "p.tsv", options=options)
    assert again["y_score"].equals(found["y_score"])
    table.write_text("participant_id\tage\tsex\nsub-a\t33\t2\n")
    with pytest.raises(
        PredictError, match=r"found the sex '2', but the model was fitted with F, M"
    ):
        predict(folder, tmp_path / STEM, tmp_path / "p.tsv", options=options)
    table.write_text("participant_id\tage\tsex\nsub-a\t33\tF\na\t34\tM\n")
    with pytest.raises(PredictError, match=r"1 ids of 'participant_id' have more than one row"):
        predict(folder, tmp_path / STEM, tmp_path / "p.tsv", options=options)


def test_a_site_of_training_is_harmonised_and_another_is_not(study, data, tmp_path):
    task = study.config.tasks[TASK].model_dump(mode="json") | {"confounds": "combat"}
    model = fit(with_settings(study, tasks={TASK: task}), "fc_ridge").model
    store(tmp_path / "model", model)
    site = data.scans["site"].dropna().value_counts().index[0]
    row = int(np.flatnonzero(data.scans["site"] == site)[0])
    write_matrix(tmp_path / STEM, data.fc[row], NAMES)
    scores = {}
    for name in (site, "elsewhere"):
        (tmp_path / "people.tsv").write_text(f"participant_id\tsite\nsub-a\t{name}\n")
        options = Options(phenotype=tmp_path / "people.tsv")
        found = predict(tmp_path / "model", tmp_path / STEM, tmp_path / "p.tsv", options=options)
        scores[name] = found["y_score"].iloc[0]
    expected = model.score(data.fc[[row]], confounds_of(data.scans.iloc[[row]]))["y_score"].iloc[0]
    assert scores[site] == pytest.approx(expected, abs=1e-5)
    assert scores["elsewhere"] != pytest.approx(expected, abs=1e-3)


def spoil(folder: Path, name: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["estimator.json", "model.safetensors"])
def test_a_damaged_model_is_refused(fitted, tmp_path, name):
    store(tmp_path, fitted("fc_svm").model)
    spoil(tmp_path, name)
    with pytest.raises(ContractError, match=f"{name}: found sha256 .*, expected .*copy the folder"):
        Model.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ContractError, match=f"{name}: no such file"):
        Model.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"format": 2}, "found format 2, expected 1"),
        (lambda c: c | {"kind": "oracle"}, "contract.json: kind"),
        (lambda c: c | {"extra": 1}, "contract.json: extra"),
        (lambda c: [], "contract.json: "),
        (lambda c: c | {"probe": [[9.0, 9.0]] * 4}, "on synthetic input the model gives"),
    ],
)
def test_a_contract_that_does_not_hold_is_refused(fitted, tmp_path, change, message):
    store(tmp_path, fitted("fc_svm").model)
    path = tmp_path / "contract.json"
    changed = change(json.loads(path.read_text()))
    path.write_text(json.dumps(sealed(changed) if changed else changed))
    with pytest.raises(ContractError, match=message):
        Model.load(tmp_path)


@pytest.mark.parametrize(
    ("make_input", "message"),
    [
        (lambda p: p / "nowhere", "no such file or folder"),
        (lambda p: p, "found no input"),
    ],
)
def test_an_input_of_no_known_kind_is_named(model_folder, tmp_path, make_input, message):
    with pytest.raises(PredictError, match=message):
        predict(model_folder, make_input(tmp_path), tmp_path / "p.tsv")


def test_results_without_a_configuration_are_refused(study, model_folder, tmp_path):
    with pytest.raises(PredictError, match=r"it is not known how .* was made.*--config"):
        predict(
            model_folder, study.config.results, tmp_path / "p.tsv", config=tmp_path / "none.yaml"
        )


def test_the_name_of_the_output_says_its_form(study, model_folder, tmp_path):
    with pytest.raises(PredictError, match=r"--out .*expected a name that ends in \.parquet"):
        predict(model_folder, study.config.results, tmp_path / "p.xlsx")


# --- the model of a task


def test_the_model_of_a_task_is_made_from_its_scores_and_names_nobody(tmp_path):
    study = write_study(tmp_path, methods=("chance", "fc_svm"))
    with pytest.raises(ValueError, match="metrics"):
        deploy(study.config, TASK)
    run(study.config, TASK)
    deploy(study.config, TASK)
    folder = study.paths.deployed(TASK)
    contract = Model.load(folder).contract
    data = assemble(study.config, TASK)
    assert contract.n_scans == len(data.scans)
    assert contract.n_per_class == data.scans["class_name"].value_counts().to_dict()
    metrics = pq.ParquetFile(study.paths.finetune(TASK) / "metrics.parquet").read().to_pandas()
    assert contract.scores["fc_svm"]["auc"] == metrics.set_index("method").loc["fc_svm", "auc"]
    everything = b"".join(f.read_bytes() for f in folder.iterdir()).decode("latin-1")
    for who in ("demo_s05", "s05_run", "north", "/data/s05.npy", str(tmp_path)):
        assert who not in everything
    text = (folder / "README.md").read_text()
    assert "cross-validated" in text
    assert "no scores of its own" in text
    assert f"{len(data.scans)} scans of {data.scans['participant'].nunique()} participants" in text


def test_a_task_without_a_model_says_why(tmp_path):
    study = write_study(tmp_path, methods=("chance",))
    said = r"finetune.deploy is 'auto' and methods are \['chance'\]; set .*deploy to auto, and add"
    with pytest.raises(TaskError, match=said) as error:
        deploy(study.config, TASK)
    offered = re.search(r"add one of ([\w, ]+) to finetune\.methods", str(error.value))[1]
    assert "fc_svm" in offered
    for method in offered.split(", "):
        taken = Finetune(methods=["chance", method], deploy="auto")
        assert taken.deployed("classification") == method


def test_the_card_warns_when_it_holds_participants_data(fitted, tmp_path):
    for method, warned in (("fc_svm", False), ("fc_knn", True), ("brainmass_svm", True)):
        store(tmp_path / method, fitted(method).model)
        text = (tmp_path / method / "README.md").read_text()
        assert ("treat it as participants' data" in text) == warned


def test_the_command_reads_what_it_is_given(study, model_folder, fitted, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from brainmass_core.cli import app

    publish(study, model_folder, fitted("fc_svm").model)
    out = tmp_path / "p.tsv"
    done = CliRunner().invoke(
        app, ["predict", str(model_folder), str(study.config.results), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(out, sep="\t")) == len(study.scans)


def test_series_in_subfolders_name_the_option_and_no_setting(model_folder, tmp_path):
    (tmp_path / "in" / "sub-a").mkdir(parents=True)
    np.save(tmp_path / "in" / "sub-a" / "a.npy", np.zeros((60, N_ROIS)))
    with pytest.raises(PredictError, match=r"^--pattern: '\*' matches 0 files.*`\*\*/\*\.npy`"):
        predict(model_folder, tmp_path / "in", tmp_path / "p.tsv")
