"""A study with two encoders (``pretrain.folds``), from the series to the report."""

import re
from pathlib import Path

import pandas as pd
import pytest
import study

from brainmass_core import load_study
from brainmass_core.scans.copies import persons

pytestmark = pytest.mark.slow


def config(ready_series: Path) -> dict:
    raw = study.ready_series_config(ready_series)
    raw["pretrain"] |= {"folds": 2, "epochs": 2}
    raw["tasks"]["diagnosis"]["protocol"] = {"n_splits": 4, "n_repeats": 2}
    methods = ["chance", "fc_svm", "untrained_svm", "brainmass_svm", "brainmass_finetune"]
    raw["finetune"] = {"methods": methods, "n_bootstrap": 200, "n_halvings": 3}
    raw["neural"] = {"max_epochs": 2}
    raw["few_shot"] = {"shots": [2], "n_draws": 2, "features": ["fc", "brainmass"]}
    return raw


def trained_on(results: Path, encoder: int) -> set[str]:
    """Participants in the record of an encoder."""
    folder = results / "pretrain" / "brainmass" / f"fold-{encoder}"
    return set(persons(pd.read_parquet(folder / "trained_on.parquet")))


def test_everybody_is_tested_by_an_encoder_that_never_saw_them(ready_series, tmp_path):
    study.write_config(tmp_path, config(ready_series))
    said = study.succeed(tmp_path, "all")
    results = tmp_path / "results"
    assert len(re.findall(r"^(?:local)?rule pretrain_fold:", said, re.M)) == 2
    found = load_study(results)
    predictions, cohort = found.predictions("diagnosis"), found.cohort("diagnosis")
    used = set(persons(cohort[cohort["used"]]))
    assert len(used) == 31  # of 32, one of whom has a damaged scan
    seen = {encoder: trained_on(results, encoder) for encoder in (1, 2)}
    assert all(seen.values())
    assert seen[1] | seen[2] == used
    assert not seen[1] & seen[2]  # with two folds each encoder sees those whom the other tests
    for (method, _), tested in predictions.groupby(["method", "repeat"]):
        assert set(persons(tested)) == used, method
        for encoder, scans in tested.groupby("encoder"):
            assert not set(persons(scans)) & seen[encoder], (method, encoder)
    # a test fold has one encoder
    assert (predictions.groupby(["repeat", "fold"])["encoder"].nunique() == 1).all()

    index = (results / "report" / "index.html").read_text()
    assert "2 encoders were pre-trained, each without one fold" in index
    assert all(f"Encoder {i} of 2" in index for i in (1, 2))
    assert "Cross-fitting" in (results / "report" / "diagnosis.html").read_text()
    card = (results / "pretrain" / "brainmass" / "fold-1" / "README.md").read_text()
    assert f"Fold 1, {len(used - seen[1])} participants, was not used" in card
    # the stored model has no pre-trained encoder
    assert '"method": "fc_svm"' in (results / "finetune/diagnosis/model/contract.json").read_text()

    # another number of folds repeats pre-training and what follows, and nothing before
    raw = config(ready_series)
    raw["pretrain"]["folds"] = 3
    study.write_config(tmp_path, raw)
    planned = study.snakemake(tmp_path, "-n", "--cores", "1", "all").stdout
    rules = set(re.findall(r"^(?:local)?rule (\w+):", planned, re.M))
    assert "pretrain_fold" in rules
    assert rules.isdisjoint({"scans_of_dataset", "timeseries_batch", "connectivity_batch"})
    assert rules.isdisjoint({"pfc_batch", "quality_batch", "quality_dataset"})
