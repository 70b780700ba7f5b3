"""A study of external data alone: FC and baselines, nothing pre-trained."""

import pytest
import study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(ready_series):
    raw = study.ready_series_config(
        ready_series,
        finetune={"methods": ["chance", "confounds_svm", "fc_svm"], "n_bootstrap": 100},
        interpret={"methods": ["fc_pattern"], "n_repeats": 1},
        report={"title": "External"},
    )
    raw["datasets"]["ready"] |= {"role": "external", "batches": 1}
    return raw


def test_all_is_made_without_pfc_and_without_a_model(config, tmp_path):
    study.write_config(tmp_path, config)
    said = study.succeed(tmp_path, "all")
    results = tmp_path / "results"
    assert not (results / "pfc").exists()
    assert not (results / "pretrain").exists()
    assert "pretrain" not in said
    page = (results / "report" / "diagnosis.html").read_text()
    assert "None: all data sets are external." in page
    assert 'id="pretraining"' not in page
    assert 'id="pretraining"' not in (results / "report" / "index.html").read_text()
    assert (results / "finetune" / "diagnosis" / "model" / "contract.json").exists()
    # and asked for the model all the same, it says why there is none
    refused = study.snakemake(tmp_path, "--cores", "1", "pretrain")
    assert refused.returncode
    assert "no participants to pre-train a model on" in refused.stdout + refused.stderr
    # without tasks there are the pages of the data
    study.write_config(tmp_path, config | {"tasks": {}})
    study.succeed(tmp_path, "all")
    assert "diagnosis" not in (results / "report" / "index.html").read_text()
