"""The methods text states and cites what is configured."""

import re
from html import unescape
from typing import get_args

import pytest
from synthetic_study import make_config

from brainmass_core.config.preprocess import Engines, Preprocess
from brainmass_core.config.sections import BrainLM
from brainmass_core.encoders.registry import METHODS
from brainmass_core.report.citations import WORKS, Citations
from brainmass_core.report.names import FEW_ESTIMATORS, kind_of, listed
from brainmass_core.report.page import render
from brainmass_core.report.programs import PROGRAMS, programs_of

OF_FC = [name for name, m in METHODS.items() if not m.series]


def text_of(folder, *, kinds=("timeseries",), methods=("fc_svm",), atlas="rings", **given) -> str:
    """Methods text without markup; `given` are settings of the task, or of a section."""
    names = ("few_shot", "pretrain", "interpret", "preprocess")
    sections = {k: given.pop(k) for k in names if k in given}
    config = make_config(folder, methods=[m for m in methods if m in OF_FC], **given)
    for name, changed in sections.items():
        section = getattr(config, name).model_copy(update=changed)
        config = config.model_copy(update={name: section})
    task = config.tasks["demo_task"]
    html = render(
        "methods.html.jinja",
        {
            "config": config,
            "task": task,
            "kinds": set(kinds),
            "kind": kind_of(task.classes),
            "classes": list(task.classes),
            "atlas": atlas,
            "n_rois": 100,
            **listed(methods),
            "curves": bool(config.few_shot.shots),
            "transfer": bool(task.zero_shot_from),
            "interpretation": {"stability": [1]} if "interpret" in sections else None,
            "few_estimators": lambda names: ", ".join(FEW_ESTIMATORS[n] for n in names),
            "software": [{"Version": "0.1.0"}],
            "cite": Citations(),
            "programs": programs_of(config.preprocess),
        },
    )
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", html)))


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ({"kind": "repeated_kfold", "n_splits": 4}, "4-fold cross-validation"),
        ({"kind": "leave_one_site_out", "min_per_class": 7}, "at least 7 evaluation participants"),
        ({"kind": "fixed_split", "test_fraction": 0.4}, "40 % of the other participants"),
    ],
)
def test_the_protocol_is_the_configured_one(protocol, said, tmp_path):
    text = text_of(tmp_path, protocol=protocol)
    assert said in text
    resampled = protocol["kind"] != "leave_one_site_out"
    assert ("Nadeau" in text) == resampled


@pytest.mark.parametrize(
    ("confounds", "said"),
    [
        ("none", "Confounds are not adjusted for"),
        ("regress", "site, sex, age, mean_fd are regressed out"),
        ("combat", "ComBat (Johnson et al. 2007)"),
        ("match", "equal numbers of each class at each site and sex"),
    ],
)
def test_what_is_done_about_confounds_is_said(confounds, said, tmp_path):
    assert said in text_of(tmp_path, confounds=confounds)


def test_each_method_that_has_a_paper_is_cited_where_it_is_used(tmp_path):
    plain = text_of(tmp_path / "a")
    rich = text_of(
        tmp_path / "b", methods=("tangent_svm", "brainnetcnn", "transformer", "brainmass_lora")
    )
    for key in ("tangent", "brainnetcnn", "transformer", "lora"):
        assert WORKS[key][1] in rich
        assert WORKS[key][1] not in plain
    assert "after 6 without a lower loss" in rich
    assert "without a lower loss" not in plain


def test_few_shot_zero_shot_and_regions_are_there_if_they_are_asked_for(tmp_path):
    plain = text_of(tmp_path / "a")
    rich = text_of(
        tmp_path / "b",
        few_shot={"shots": [1, 8], "classifiers": ["prototype"]},
        interpret={"methods": ["gradient", "fc_pattern"]},
    )
    for word in ("Few-shot.", "1, 8 participants per class", "Snell", "Sundararajan", "Haufe"):
        assert word in rich
        assert word not in plain
    assert "Zero-shot." not in rich


def test_sentences_and_words_are_separated(tmp_path):
    text = text_of(tmp_path, kinds=("bids",), methods=("fc_svm",))
    for said in (
        "Pearson correlation between all pairs",
        "Column dx (control = 1; patient = 2). Evaluation.",
        "scans of the same fold. Intervals are",
        "slice timing: brainmass, Fourier interpolation. Runs with fewer",
    ):
        assert said in text


def test_every_citation_has_its_reference_and_every_reference_its_citation(tmp_path):
    text = text_of(
        tmp_path,
        kinds=("bids", "timeseries"),
        methods=OF_FC,
        atlas="Schaefer2018-100-7networks",
        confounds="combat",
    )
    body, references = text.split("References")
    for short, full in WORKS.values():
        assert (f"({short})" in body) == (full in references)
    assert sum(full in references for _, full in WORKS.values()) > 12


@pytest.mark.parametrize(
    ("chosen", "registration", "said", "unsaid"),
    [
        ({}, "syn", "affine registration to the template: ANTs (Avants et al. 2011)", "deepbet"),
        ({}, "syn", "deformable registration to the template: Greedy (Yushkevich", "SyN"),
        ({}, "affine", "affine registration to the template: ANTs", "Greedy"),
        ({"normalisation": "embedded"}, "syn", "template: SyN of ANTs (Avants", "Greedy"),
        ({"brain_extraction": "deepbet"}, "affine", "registration to the template: Greedy", "SyN"),
        ({"brain_extraction": "deepbet"}, "syn", "brain mask: deepbet (Fisch", "template's mask"),
        ({"normalisation": "fsl", "motion": "fsl"}, "syn", "MCFLIRT of FSL (Jenk", "Greedy"),
    ],
)
def test_the_programs_of_the_preprocessing_are_the_chosen_ones(
    chosen, registration, said, unsaid, tmp_path
):
    changed = {"engines": Engines(**chosen), "registration": registration}
    body = text_of(tmp_path, kinds=("bids",), preprocess=changed).split("References")[0]
    assert said in body
    assert unsaid not in body


def test_every_engine_has_a_program_and_its_reference():
    choices = {
        (step, name)
        for step, field in Engines.model_fields.items()
        for name in get_args(field.annotation)
    }
    affines = {("affine", name) for step, name in choices if step == "normalisation"}
    assert set(PROGRAMS) == choices | affines
    assert {work for _, work in PROGRAMS.values()} - {""} <= WORKS.keys()
    everything = Preprocess(despike=True)
    nothing = Preprocess(slice_timing=False, distortion="none", registration="affine")
    assert [len(programs_of(s)) for s in (everything, nothing)] == [10, 6]


def test_pre_training_is_that_of_the_model(tmp_path):
    lm = {"model": "brainlm-13m", "epochs": 7}
    methods = ("fc_svm", "brainlm_svm", "brainlm_finetune")
    text = text_of(tmp_path / "a", methods=methods, pretrain=lm)
    for said in (
        "BrainLM (Ortega Caro et al. 2024), brainlm-13m, 7 epochs",
        "windows of 200 timepoints",
        "75 % of the tokens hidden. Loss",
        "embeds all complete windows of a recording",
        "after 6 without a lower loss",
    ):
        assert said in text
    assert "BrainMass" not in text
    assert "pseudo-FC" not in text
    assert "BrainLM" not in text_of(tmp_path / "b")
    future = {"brainlm": BrainLM(future_share=0.3, other_t_r="resample")}
    text = text_of(tmp_path / "c", methods=methods, pretrain=lm | future)
    assert "in 30 % of the steps the last 20 timepoints instead" in text
    assert "another repetition time were resampled" in text


def test_a_regression_has_a_target_and_no_classes(tmp_path):
    text = text_of(tmp_path, kind="regression", classes={}, transform="zscore")
    assert "Target. Column dx, fitted after the transformation zscore" in text
    assert "fifths of the target" in text
    assert "within class" not in text
