"""Finished studies whose pages several tests read; `conftest` builds each once in a run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_study import Study, write_study

from brainmass_core import drawing
from brainmass_core.config.adaptation import FewShot
from brainmass_core.report import run
from brainmass_core.scans.table import Unmatched, write_scans
from brainmass_core.tables import ZERO_SHOT, from_rows, write_table

PIXEL = b"\x89PNG of no size"
THREE = {"control": ["1"], "patient": ["2"], "other": ["3"]}


def binary(folder: Path) -> Study:
    """A task of two classes."""
    methods = ("chance", "confounds_svm", "fc_svm", "fc_logistic")
    return _finished(write_study(folder, methods=methods))


def adapted(folder: Path, study: Study) -> Study:
    """The same task with few-shot curves and a zero-shot table."""
    from brainmass_core.finetune import run_few_shot

    few = FewShot(shots=[1, 2, 4], n_draws=4, features=["fc"], classifiers=["svm", "prototype"])
    study = copy_of(study, folder)
    task = study.config.tasks["demo_task"].model_copy(update={"zero_shot_from": ["demo"]})
    config = study.config.model_copy(update={"few_shot": few, "tasks": {"demo_task": task}})
    run_few_shot(config, "demo_task")
    row = {"task": "demo_task", "source": "elsewhere", "method": "fc_knn", "harmonise": "site_mean"}
    row |= {"n_train_participants": 91, "n_train_scans": 92, "n_test_participants": 57}
    row |= {"n_test_scans": 57, "auc": 0.6612, "auc_low": 0.5, "auc_high": 0.8}
    row |= dict.fromkeys(["balanced_accuracy", "balanced_accuracy_low"], 0.55)
    table = from_rows([row], ZERO_SHOT)
    write_table(study.paths.finetune("demo_task") / "zero_shot.parquet", table, "zero_shot")
    run(config, "demo_task")
    return replace(study, config=config)


def regression(folder: Path) -> Study:
    """A number is predicted; two runs per participant. The front page has no figures."""
    methods = ("chance", "fc_ridge")
    study = write_study(folder, methods=methods, kind="regression", classes={}, runs=2)
    return _finished(study, figures_of_index=False)


def several(folder: Path) -> Study:
    """A task of three classes. The front page has no figures."""
    study = write_study(folder, methods=("chance", "fc_svm", "fc_logistic"), classes=THREE)
    scans = study.scans.copy()
    number = scans["participant_id"].str[1:].astype(int)
    scans.loc[number % 3 == 2, "pheno_dx"] = "3"
    write_scans(study.paths.scans("demo"), scans, Unmatched(), "hash")
    return _finished(study, figures_of_index=False)


def _finished(study: Study, figures_of_index: bool = True) -> Study:
    from brainmass_core.finetune import run as finetune

    finetune(study.config, "demo_task")
    run(study.config, "demo_task")
    with pytest.MonkeyPatch.context() as patch:
        if not figures_of_index:
            draw_nothing(patch)
        run(study.config, "index")
    return study


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Figures of pages are omitted: they take most of the time of a page."""
    patch.setattr(drawing, "draw", lambda _: (PIXEL, ""))


def copy_of(study: Study, folder: Path) -> Study:
    """The study with a separate results folder, to be changed."""
    results = folder / "results"
    shutil.copytree(study.config.results, results)
    return replace(study, config=study.config.model_copy(update={"results": results}))
