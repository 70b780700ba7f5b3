"""The public interface: arrays as input and output, and the tables of a finished study."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import brainmass_core
from brainmass_core import clean_series, functional_connectivity, load_study, pseudo_fc, vectorise
from brainmass_core.config import ConfigError
from brainmass_core.study import StudyError
from brainmass_core.tables import TableError

ROOT = Path(__file__).resolve().parents[2]
MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
REGRESSION = {
    **{"motion": "6", "n_compcor": 0, "csf": False, "polynomial_order": 0},
    **{"low_hz": None, "high_hz": None},
}


@pytest.fixture
def series():
    return np.random.default_rng(0).standard_normal((60, 5)).cumsum(axis=0)


@pytest.fixture
def confounds():
    return pd.DataFrame(np.random.default_rng(1).standard_normal((60, 6)), columns=MOTION)


def test_every_public_name_is_there_and_documented():
    assert sorted(brainmass_core._WHERE) == sorted(brainmass_core.__all__)
    for name in brainmass_core.__all__:
        assert getattr(brainmass_core, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'fc'"):
        _ = brainmass_core.fc


def test_functional_connectivity_is_numpys_correlation(series):
    assert_allclose(functional_connectivity(series), np.corrcoef(series.T), atol=1e-12)
    with pytest.raises(ValueError, match="found estimator 'partial', expected one of"):
        functional_connectivity(series, "partial")


def test_pseudo_fc_without_dropping_is_the_fc(series):
    views = pseudo_fc(series, n_views=3, drop_rate=0.0)
    assert_allclose(views, np.tile(vectorise(np.corrcoef(series.T)), (3, 1)), atol=1e-6)


def test_a_setting_that_is_not_allowed_is_refused_as_in_a_file(series, confounds):
    with pytest.raises(ConfigError) as error:
        clean_series(series, 2.0, confounds, motion="24", n_compcors=3)
    said = str(error.value)
    assert (
        "timeseries.motion: found '24'; there are ['24_derivative', '24_lag', '6', 'none']" in said
    )
    assert "timeseries.n_compcors: unknown key; did you mean 'n_compcor'?" in said


def test_cleaned_series_are_the_residual_of_a_regression(series, confounds):
    design = np.column_stack([confounds, np.ones(60)])
    fit = design @ np.linalg.lstsq(design, series, rcond=None)[0]
    assert_allclose(clean_series(series, 2.0, confounds, **REGRESSION), series - fit, atol=1e-9)


def test_without_confounds_and_band_series_stay_as_they_are(series):
    assert_array_equal(clean_series(series, 2.0, low_hz=None, high_hz=None), series)


def test_censored_volumes_are_left_out(series, confounds):
    confounds["framewise_displacement"] = np.where(np.arange(60) == 30, 2.0, 0.1)
    left = clean_series(series, 2.0, confounds, **REGRESSION, censor={"method": "remove"})
    rest = np.arange(60) != 30
    alone = clean_series(series[rest], 2.0, confounds[rest], **REGRESSION)
    assert_allclose(left, alone, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, c: (s[:50], c), "found 60 rows of confounds and 50 timepoints"),
        (lambda s, c: (s[:, 0], c), r"found series of shape \(60,\)"),
        (lambda s, c: (np.where(s == s.max(), np.nan, s), c), "expected finite values"),
        (lambda s, c: (s, c.drop(columns="rot_z")), "lacks the columns"),
    ],
)
def test_what_does_not_fit_is_refused(series, confounds, change, message):
    given, table = change(series, confounds)
    with pytest.raises(ValueError, match=message):
        clean_series(given, 2.0, table, **REGRESSION)


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(
        StudyError, match=r"it contains no config.yaml, so it is not a results folder"
    ):
        load_study(tmp_path)


@pytest.mark.study
def test_the_interface_is_imported_without_torch_and_numpy():
    code = "import sys, brainmass_core; print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.study
class TestFinishedStudy:
    @pytest.fixture
    def study(self, finished):
        from brainmass_core.config import dump_config

        finished.config.results.joinpath("config.yaml").write_text(dump_config(finished.config))
        return load_study(finished.config.results)

    def test_connectivity_is_that_of_the_series(self, study):
        (name, *_) = study.datasets
        scans, fc = study.connectivity(name)
        series = study.series(scans["scan_id"][:5])
        assert_allclose(fc[:5], [vectorise(functional_connectivity(s)) for s in series], atol=1e-5)

    def test_scores_are_those_of_the_predictions(self, study):
        from sklearn.metrics import roc_auc_score

        (task,) = study.tasks
        predictions = study.predictions(task)
        scores = study.metrics(task).set_index("method")["auc"]
        for method, rows in predictions.groupby("method"):
            by_fold = rows.groupby(["repeat", "fold"])
            expected = np.mean([roc_auc_score(r["y_true"], r["y_score"]) for _, r in by_fold])
            assert scores[method] == pytest.approx(expected, abs=0.1), method

    def test_the_model_is_that_of_the_study(self, study):
        assert study.model().n_rois == 20

    def test_the_page_on_python_says_what_works(self, study, series, confounds):
        page = (ROOT / "docs" / "howto" / "python.md").read_text()
        code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
        (task,) = study.tasks
        code = code.replace("results", str(study.config.results)).replace("demo_diagnosis", task)
        code = code.replace('scans["pheno_diagnosis"] == "patient"', 'scans["split"] == "train"')
        assert "diagnosis" not in code.replace(task, "")
        confounds = confounds.assign(
            csf=1.0, **{f"a_comp_cor_0{i}": series[:, i] for i in range(5)}
        )
        wide = np.random.default_rng(2).standard_normal((60, 7))
        names = {"series": wide, "confounds": confounds}
        exec(code, names)
        assert names["views"].shape == (8, 21)
        assert names["patients"].shape == (20, 20)
        assert np.isfinite(names["patients"]).all()
        assert names["embedding"].shape == (len(names["fc"]), 8 * 20)

    def test_everybody_of_the_cohort_is_a_scan(self, study):
        (task,) = study.tasks
        assert set(study.cohort(task)["scan_id"]) <= set(study.scans()["scan_id"])

    def test_unknown_names_are_refused_with_those_that_there_are(self, study):
        with pytest.raises(StudyError, match=r"no data set 'x'; there are"):
            study.scans("x")
        with pytest.raises(StudyError, match=r"no task 'x'"):
            study.metrics("x")
        with pytest.raises(StudyError, match=r"no scan 'x'"):
            study.series("x")

    def test_what_is_not_made_yet_names_its_target(self, study):
        (task,) = study.tasks
        with pytest.raises(TableError, match="snakemake --cores all interpret"):
            study.regions(task)
