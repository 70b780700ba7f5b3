"""A model of joined runs scores joined runs, and refuses FC of another unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from predict_study import TASK, fit, publish
from synthetic_joined_study import joined_study
from synthetic_study import copy_of, write_study

from brainmass_core.config import dump_config
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.predict import PredictError, predict
from brainmass_core.predict.contract import read_contract
from brainmass_core.predict.pipeline_run import Options
from brainmass_core.tables import read_table

pytestmark = pytest.mark.study
TRUST = Options(as_trained=True, t_r=2.0)


@pytest.fixture(scope="module")
def study(built_once, tmp_path_factory):
    return copy_of(joined_study(built_once), tmp_path_factory.mktemp("joined"))


@pytest.fixture(scope="module")
def folder(study):
    return publish(study, study.paths.deployed(TASK), fit(study, "fc_svm").model)


@pytest.fixture(scope="module")
def found(study, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("p") / "p.parquet"
    return predict(folder, study.config.results, out).set_index("scan_id")


def test_the_contract_knows_the_unit(folder):
    contract = read_contract(folder)
    assert contract.connectivity.unit == "participant"
    assert contract.n_scans == contract.n_participants
    assert "runs of a participant and task joined" in (folder / "README.md").read_text()


def test_results_have_a_row_per_participant(study, folder, found):
    data, model = assemble(study.config, TASK), fit(study, "fc_svm").fitted
    assert len(found) == 30
    expected = model.model.decision_function(data.fc)
    np.testing.assert_allclose(found.loc[data.scans["scan_id"], "y_score"], expected, atol=1e-5)
    assert found.loc["demo_s05", "status"] == "ok"  # of one run
    assert found.loc["demo_s07", ["status", "reason"]].tolist() == [
        "excluded",
        "/data/x.npy: truncated",
    ]
    assert found.loc["demo_s03", "status"] == "excluded"


def test_raw_series_are_joined_as_in_training(study, folder, found, tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    rows = read_table(study.paths.batch("timeseries", "demo", 0), "timeseries").to_pylist()
    for row in rows:
        if row["scan_id"] in ("demo_s04_run-0", "demo_s04_run-1"):
            number = row["scan_id"][-1]
            np.save(series / f"sub-s04_task-rest_run-{number}.npy", np.array(row["bold"], "f4"))
    scored = predict(folder, series, tmp_path / "p.tsv", options=TRUST)
    assert scored["scan_id"].tolist() == ["sub-s04_task-rest"]
    assert scored["y_score"][0] == pytest.approx(found.loc["demo_s04", "y_score"], abs=1e-5)


def refused(model, source, out, **options) -> pd.DataFrame:
    """The table of an input of which nothing can be scored."""
    with pytest.raises(PredictError, match="none of"):
        predict(model, source, out, **options)
    table = pd.read_parquet(out)
    return table[table["status"] == "refused"]["reason"]


def test_fc_of_single_runs_is_refused_by_a_model_of_joined_ones_and_the_reverse(
    study, folder, tmp_path
):
    single = write_study(tmp_path / "single", n_participants=30)
    (single.config.results / "config.yaml").write_text(dump_config(single.config))
    says = "found FC of single runs, the model's is of joined runs of a participant"
    results = refused(folder, single.config.results, tmp_path / "a.parquet")
    assert len(results) == 28
    assert results.str.contains(says).all()

    table = single.paths.batch("connectivity", "demo", 0)
    alone = refused(folder, table, tmp_path / "b.parquet", options=TRUST)
    assert alone.str.contains(says).all()
    joined = study.paths.batch("connectivity", "demo", 0)
    assert (predict(folder, joined, tmp_path / "c.parquet", options=TRUST)["status"] == "ok").all()

    other = publish(single, single.paths.deployed(TASK), fit(single, "fc_svm").model)
    reverse = refused(other, joined, tmp_path / "d.parquet", options=TRUST)
    assert reverse.str.contains("found FC of joined runs, the model's is of single").all()
