import pandas as pd
import pytest
from synthetic_study import write_study

from brainmass_core.config.adaptation import FewShot
from brainmass_core.finetune import run as finetune
from brainmass_core.finetune import run_few_shot
from brainmass_core.report import run
from brainmass_core.tables import ZERO_SHOT, from_rows, write_table


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished task; made once, changed by no test."""
    methods = ("chance", "confounds_svm", "fc_svm", "fc_logistic")
    study = write_study(tmp_path_factory.mktemp("study"), methods=methods)
    finetune(study.config, "demo_task")
    return study


@pytest.fixture(scope="module")
def pages(study):
    """Name of a page to its HTML."""
    for page in ("demo_task", "index"):
        run(study.config, page)
    return {p: study.paths.report(p).read_text() for p in ("demo_task", "index")}


@pytest.fixture(scope="package")
def adapted(tmp_path_factory):
    """A task with few-shot curves and a zero-shot table, and its page."""
    study = write_study(tmp_path_factory.mktemp("adapted"), methods=("chance", "fc_svm"))
    few = FewShot(shots=[1, 2, 4], n_draws=4, features=["fc"], classifiers=["svm", "prototype"])
    task = study.config.tasks["demo_task"].model_copy(update={"zero_shot_from": ["demo"]})
    config = study.config.model_copy(update={"few_shot": few, "tasks": {"demo_task": task}})
    finetune(config, "demo_task")
    run_few_shot(config, "demo_task")
    row = {"task": "demo_task", "source": "elsewhere", "method": "fc_knn", "harmonise": "site_mean"}
    row |= {"n_train_participants": 91, "n_train_scans": 92, "n_test_participants": 57}
    row |= {"n_test_scans": 57, "auc": 0.6612, "auc_low": 0.5, "auc_high": 0.8}
    row |= dict.fromkeys(["balanced_accuracy", "balanced_accuracy_low"], 0.55)
    table = from_rows([row], ZERO_SHOT)
    write_table(study.paths.finetune("demo_task") / "zero_shot.parquet", table, "zero_shot")
    run(config, "demo_task")
    return config


@pytest.fixture(scope="package")
def regression(tmp_path_factory):
    """A finished regression and its pages."""
    folder = tmp_path_factory.mktemp("regression")
    study = write_study(
        folder, methods=("chance", "fc_ridge"), kind="regression", classes={}, runs=2
    )
    finetune(study.config, "demo_task")
    for page in ("demo_task", "index"):
        run(study.config, page)
    return study


@pytest.fixture(scope="package")
def several(tmp_path_factory):
    """A finished task of three classes and its pages."""
    classes = {"control": ["1"], "patient": ["2"], "other": ["3"]}
    folder = tmp_path_factory.mktemp("several")
    study = write_study(folder, methods=("chance", "fc_svm", "fc_logistic"), classes=classes)
    _third_class(study)
    finetune(study.config, "demo_task")
    for page in ("demo_task", "index"):
        run(study.config, page)
    return study


def _third_class(study) -> None:
    from brainmass_core.scans.table import Unmatched, write_scans

    scans: pd.DataFrame = study.scans.copy()
    number = scans["participant_id"].str[1:].astype(int)
    scans.loc[number % 3 == 2, "pheno_dx"] = "3"
    write_scans(study.paths.scans("demo"), scans, Unmatched(), "hash")
