"""An encoder of another package runs through every stage without a change of this package."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file
from synthetic_study import BATCHES, Study, make_config, write_study
from toy_encoder import ENCODER
from toy_implementation import Toy

from brainmass_core import finetune, interpret, pfc, report
from brainmass_core.config import ConfigError, dump_config, load_config, parse_config
from brainmass_core.encoders import registry
from brainmass_core.encoders.interface import implementation_of
from brainmass_core.encoders.record import EncoderError, Network
from brainmass_core.encoders.registry import METHODS as KNOWN
from brainmass_core.encoders.registry import encoder_of, register
from brainmass_core.predict import predict
from brainmass_core.predict.checksum import write_checksums
from brainmass_core.predict.deploy import deploy
from brainmass_core.pretrain.launch import torchrun
from brainmass_core.study import load_study
from brainmass_core.tables import read_table

HERE = Path(__file__).parent
TASK = "demo_task"
METHODS = (
    *("chance", "fc_svm", "untrained_toy_svm", "toy_svm", "toy_ridge"),
    *("toy_finetune", "only_a_head"),
)


@pytest.fixture
def toy():
    """The record, registered for one test."""
    register(ENCODER)
    yield ENCODER
    registry.unregister(ENCODER.name)


def installed(folder: Path, place: str = "toy_encoder:ENCODER") -> Path:
    """Write the entry point of a package with an encoder to a folder of the path."""
    about = folder / "toy_encoder-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-encoder\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{registry.GROUP}]\ntoy = {place}\n")
    return folder


def on_path(site: Path) -> str:
    """PYTHONPATH of processes that find the encoder as an installed one."""
    return os.pathsep.join(map(str, (site, HERE, HERE.parents[1])))


def with_toy(study: Study, **sections: object) -> Study:
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["pretrain"] = {"model": "toy-linear", "epochs": 2, "warmup_epochs": 1, "batch_size": 8}
    raw["pfc"] = {"n_views": 2}
    raw["neural"] = {"max_epochs": 2}
    raw["finetune"] = {"methods": list(METHODS), "n_bootstrap": 100, "n_permutations": 20}
    raw["interpret"] = {"methods": ["gradient"], "n_repeats": 1, "max_scans": 4, "n_steps": 2}
    raw["resources"] = {"pretrain": {"cpus_per_task": 1}}
    return Study(parse_config(raw | sections), study.scans)


@pytest.mark.study
def test_a_third_encoder_goes_through_a_study_without_a_change_of_the_package(
    toy, tmp_path, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", on_path(installed(tmp_path / "site")))
    study = with_toy(write_study(tmp_path / "study", n_participants=30))
    config, results = study.config, study.config.results
    for batch in range(BATCHES):
        pfc.run(config, "demo", batch)
    file = results / "config.yaml"
    file.write_text(dump_config(config))
    assert load_config(file) == config

    torchrun.run(config, file)
    folder = results / "pretrain" / "toy-linear"
    stored = Toy.from_pretrained(folder)
    assert isinstance(load_study(results).model(), Toy)
    assert not torch.equal(
        stored.map.weight, implementation_of(toy).untrained(config, 20).map.weight
    )
    assert write_checksums(folder) == folder / "config.json"

    finetune.run(config, TASK)
    metrics = read_table(results / "finetune" / TASK / "metrics.parquet", "metrics").to_pandas()
    assert set(metrics["method"]) == set(METHODS)
    interpret.run(config, TASK)
    stability = read_table(results / "interpret" / TASK / "stability.parquet", "stability")
    assert stability["method"].to_pylist() == ["gradient"]
    assert stability["agreement_with_scored"].to_pylist()[0] is not None  # with toy_svm

    for method in ("toy_ridge", "toy_finetune"):
        raw = config.model_dump(mode="json")
        raw["finetune"]["deploy"] = method
        deploy(parse_config(raw), TASK)
        model = results / "finetune" / TASK / "model"
        given = predict(model, results, tmp_path / "out.tsv", tmp_path / "embeddings.parquet")
        assert (given["status"] == "ok").sum() > 20
        vectors = read_table(tmp_path / "embeddings.parquet", "embeddings")["embedding"]
        assert len(vectors[0].as_py()) == stored.width
        kept = {k for k in load_file(model / "model.safetensors") if k.startswith("encoder.")}
        frozen = {
            "encoder.map.weight",
            "encoder.map.bias",
        }  # without the parts that only training needs
        assert kept == (frozen if method == "toy_ridge" else set())
    report.run(config, TASK)
    report.run(config, "index")
    page = (results / "report" / f"{TASK}.html").read_text()
    assert "Toy, fine-tuned" in page
    assert "<b>Pre-training.</b> Toy, <code>toy-linear</code>, 2 epochs" in page


def test_names_of_an_outside_encoder_are_valid_once_it_is_known(toy, tmp_path):
    study = with_toy(Study(make_config(tmp_path), None))
    assert study.config.pretrain.encoder is toy
    assert study.config.finetune.permutation_methods == ["fc_svm", "toy_svm"]
    assert study.config.finetune.deployed("classification") == "toy_ridge"
    assert [KNOWN[m].encoder for m in METHODS] == [None, None, toy, toy, toy, toy, toy]
    assert [KNOWN[m].pretrained for m in METHODS[2:]] == [False, True, True, True, True]
    assert KNOWN["only_a_head"].label == "Toy, held fixed"
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["finetune"]["methods"] = ["toy_svm", "brainmass_svm"]
    with pytest.raises(ConfigError, match=r"brainmass_svm with pretrain.model toy-linear; these"):
        parse_config(raw)
    raw["finetune"]["methods"] = ["toy_sv"]
    with pytest.raises(ConfigError, match="did you mean 'toy_svm'"):
        parse_config(raw)
    raw["finetune"]["methods"] = ["toy_svm"]
    raw["pretrain"]["size"] = "small"
    with pytest.raises(ConfigError, match="found size with model toy-linear: only brainmass has"):
        parse_config(raw)


def test_an_encoder_that_nobody_registered_is_no_model(tmp_path):
    raw = make_config(tmp_path).model_dump(mode="json", exclude_unset=True)
    for section, name in (
        ("pretrain", {"model": "toy-linear"}),
        ("finetune", {"methods": ["toy_svm"]}),
    ):
        with pytest.raises(ConfigError, match=f"{section}.*found 'toy"):
            parse_config(raw | {section: name})
    with pytest.raises(
        EncoderError, match="no model 'toy-linear'; there are brainmass, brainlm-13m"
    ):
        encoder_of("toy-linear")


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        ({"name": "brainlm"}, "the name 'brainlm' is that of BrainLM"),
        ({"models": ("brainmass",)}, "the model 'brainmass' is that of BrainMass"),
        ({"untrained": "untrained"}, "the features 'untrained' is that of BrainMass"),
        (
            {"networks": (Network("brainlm_finetune", "", ""),)},
            "the method 'brainlm_finetune' is that of BrainLM",
        ),
        (
            {"networks": (Network("fc_svm", "", ""),)},
            "the method 'fc_svm' is that of brainmass_core",
        ),
        ({"untrained": "tangent"}, "the features 'tangent' is that of brainmass_core"),
        ({"networks": (Network("toy_svm", "", ""),)}, "the method 'toy_svm' is given twice"),
    ],
)
def test_a_name_that_is_taken_is_refused(taken, message):
    with pytest.raises(EncoderError, match=message):
        register(replace(ENCODER, **taken))
    assert ENCODER.name not in [e.name for e in registry.encoders()]


@pytest.mark.study
def test_an_installed_package_is_found_by_its_entry_point(tmp_path):
    code = "from brainmass_core.encoders import encoder_of; print(encoder_of('toy-linear').label)"
    env = os.environ | {"PYTHONPATH": on_path(installed(tmp_path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "Toy\n"


@pytest.mark.parametrize("place", ["nowhere_to_be_found:ENCODER", "toy_encoder:NOTHING"])
def test_an_installed_encoder_that_cannot_be_loaded_is_named(tmp_path, monkeypatch, place):
    monkeypatch.syspath_prepend(installed(tmp_path, place))
    registry._installed.cache_clear()
    try:
        with pytest.raises(EncoderError, match=rf"the encoder toy \({place}\) of an installed"):
            encoder_of("toy-linear")
    finally:
        registry._installed.cache_clear()
