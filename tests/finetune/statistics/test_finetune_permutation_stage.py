"""The permutation test with refitting in the stage: what is stored, and what is compared."""

import pytest
from synthetic_study import write_study

from brainmass_core.config import parse_config
from brainmass_core.finetune import run
from brainmass_core.finetune.statistics import permutation
from brainmass_core.tables import read_table

pytestmark = pytest.mark.study


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_stage_stores_the_p_of_the_methods_that_were_asked_for(tmp_path, kind):
    number = {"kind": "regression", "classes": {}, "exclude": "pheno_dx == '9'"}
    over = number if kind == "regression" else {}
    over = over | {"protocol": {"n_splits": 3, "n_repeats": 1}}
    study = write_study(tmp_path, methods=("chance", "fc_svm", "tangent_svm"), effect=3.0, **over)
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["finetune"] |= {"n_permutations_refit": 19, "permutation_methods": ["fc_svm"]}
    run(parse_config(raw), "demo_task")
    path = study.paths.finetune("demo_task") / "metrics.parquet"
    found = read_table(path, "metrics").to_pandas().set_index("method")["p_permutation_refit"]
    assert found["fc_svm"] == 1 / 20
    assert found.drop("fc_svm").isna().all()


@pytest.mark.parametrize("kind", ["repeated_kfold", "leave_one_site_out", "fixed_split"])
def test_what_is_compared_with_the_shuffles_is_the_score_of_the_table(tmp_path, monkeypatch, kind):
    study = write_study(tmp_path, protocol={"kind": kind, "n_repeats": 2, "min_per_class": 3})
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["finetune"] |= {"n_permutations_refit": 1}
    scores, original = [], permutation.leading_score
    monkeypatch.setattr(
        permutation, "leading_score", lambda *a: scores.append(original(*a)) or scores[-1]
    )
    run(parse_config(raw), "demo_task")
    path = study.paths.finetune("demo_task") / "metrics.parquet"
    metrics = read_table(path, "metrics").to_pandas().set_index("method")
    assert metrics.loc[["confounds_svm", "fc_svm"], "auc"].tolist() == pytest.approx(scores[::2])
