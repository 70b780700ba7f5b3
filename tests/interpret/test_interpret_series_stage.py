"""Gradients of a BrainLM: parcels of the recordings that determine the decision of a probe."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_series_study import (
    COORDINATES,
    WINDOW,
    results,
    series_of,
    set_series,
    write_series_study,
)
from synthetic_study import N_ROIS

from brainmass_core.config import ConfigError, parse_config
from brainmass_core.finetune import TaskError
from brainmass_core.finetune import run as finetune
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.finetune.folds.protocols import protocol_folds
from brainmass_core.interpret import run
from brainmass_core.interpret.explained_model import fit_probe
from brainmass_core.interpret.series import load_recordings_model, series_gradients
from brainmass_core.models.pretrained import seal
from brainmass_core.tables import read_table

pytestmark = pytest.mark.study

TASK = "demo_task"
PLANTED = [2, 5, 9, 14, 17]


def planted(folder, strength: float, methods=("gradient", "fc_pattern")):
    """A study in which five parcels of patients have waves that begin with the recording."""
    scored = ("fc_svm", "brainlm_svm")
    study = write_series_study(folder, methods=scored, effect=0.0, n_timepoints=2 * WINDOW)
    t = np.arange(2 * WINDOW)[:, None]
    waves = np.zeros((2 * WINDOW, N_ROIS))
    waves[:, PLANTED] = strength * np.cos(2 * np.pi * np.arange(1, 6) * t / WINDOW)
    patients = study.scans.loc[study.scans["pheno_dx"] == "2.0", "scan_id"]
    series = series_of(study)
    set_series(study, {s: series[s] + waves for s in patients if s in series})
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["interpret"] = {"methods": list(methods), "n_repeats": 2, "n_steps": 8, "max_scans": 10}
    return study, parse_config(raw)


def regions_of(study, method: str):
    regions = read_table(study.paths.interpret(TASK, "regions.parquet"), "regions").to_pandas()
    return regions[regions["method"] == method].set_index("roi")


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    study, config = planted(tmp_path_factory.mktemp("planted"), 2.0)
    finetune(config, TASK)
    run(config, TASK)
    return study


def test_planted_parcels_are_the_first_by_gradients_and_not_by_fc(explained):
    planted_first = {}
    for method in ("gradient", "fc_pattern"):
        regions = regions_of(explained, method)
        planted_first[method] = set(regions.index[regions["rank"] <= 5] - 1) & set(PLANTED)
    assert len(planted_first["gradient"]) >= 4
    assert len(planted_first["fc_pattern"]) <= 3
    assert set(regions_of(explained, "gradient").query("rank <= 10").index - 1) >= set(PLANTED)


def test_the_probe_is_compared_with_the_scored_method_and_gradients_are_complete(explained):
    path = explained.paths.interpret(TASK, "stability.parquet")
    row = read_table(path, "stability").to_pandas().set_index("method").loc["gradient"]
    assert row["auc"] > 0.9
    assert row["agreement_with_scored"] > 0.5
    assert row["completeness_error"] < 0.1  # eight steps
    scored = results(explained, "metrics").set_index("method")
    assert scored.loc["brainlm_svm", "auc"] > 0.9


@pytest.mark.slow
def test_without_a_difference_no_parcel_is_called_stable(tmp_path):
    study, config = planted(tmp_path, 0.0, methods=("gradient",))
    finetune(config, TASK)
    run(config, TASK)
    regions = regions_of(study, "gradient")
    assert not regions["stable"].any()
    assert regions["p_corrected"].min() > 0.05


@pytest.mark.parametrize("mode", ["corrected", "reference"])
def test_what_is_explained_is_the_probe_on_the_embedding(tmp_path, mode):
    study = write_series_study(
        tmp_path, n_participants=30, n_timepoints=2 * WINDOW, brainlm={"mode": mode}
    )
    data = assemble(study.config, TASK)
    fold = protocol_folds(data.scans, study.config.tasks[TASK].protocol, 0, TASK)[0]
    encoder = load_recordings_model(study.config, data, fold.test[:4])
    assert set(encoder.windows) == set(fold.test[:4].tolist())
    y = data.scans["y"].to_numpy()
    probe = fit_probe(encoder.embedding[fold.train], y[fold.train])
    rows = fold.test[:4]
    windows, labels = [encoder.windows[r] for r in rows], np.array([0, 1, 0, 1])
    first, second = (
        series_gradients(encoder.model, probe, windows, COORDINATES, labels, 32) for _ in range(2)
    )
    np.testing.assert_array_equal(first.importance, second.importance)
    # sum over all parcels: the distance between the classes in the score
    score = probe.score(encoder.embedding[rows])
    apart = score[labels == 1].mean() - score[labels == 0].mean()
    assert first.importance.sum() == pytest.approx(apart, abs=0.05 * np.abs(score).max())


def test_a_model_of_other_parcels_is_refused(tmp_path):
    study, config = planted(tmp_path, 0.0)
    path = study.paths.pretrain("brainlm-tiny") / "config.json"
    path.write_text(path.read_text().replace('"rings"', '"other"'))
    seal(path.parent)
    with pytest.raises(TaskError, match="has atlas 'other'"):
        run(config, TASK)


def test_methods_of_the_other_model_are_refused_and_those_that_apply_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"found attention, permutation.*: gradient, fc_pattern"):
        planted(tmp_path, 0.0, methods=("attention", "gradient", "permutation"))
