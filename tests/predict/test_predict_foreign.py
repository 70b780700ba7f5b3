"""A damaged or foreign model folder gives one message with file, finding and remedy."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from predict_study import TASK
from safetensors.numpy import load_file, save_file
from synthetic_study import copy_of

from brainmass_core.checksums import sealed, sha256_of
from brainmass_core.cli import main
from brainmass_core.config import dump_config
from brainmass_core.encoders.brainlm.model import BrainLM
from brainmass_core.models.pretrained import seal

pytestmark = pytest.mark.study

CONTRACT, ESTIMATOR, WEIGHTS = "contract.json", "estimator.json", "model.safetensors"
SETTINGS = "config.json"
AGAIN = "copy the folder again"
SERIES = {
    **dict.fromkeys(("width", "feedforward", "decoder_feedforward"), 16),
    **dict.fromkeys(("depth", "decoder_depth"), 1),
    **dict.fromkeys(("heads", "decoder_heads"), 2),
    "patch": 4,
}


@pytest.fixture
def refused(monkeypatch, caplog):
    """Run a command, which must end with status 1 and one line, and return that line."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["brainmass", *map(str, arguments)])
        caplog.clear()
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 1
        (line,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert not line.exc_info, line.getMessage()
        assert "\n" not in line.getMessage()
        return line.getMessage()

    return run


def removed(name: str):
    return lambda folder, _: (folder / name).unlink()


def cut(name: str):
    def damage(folder: Path, _: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:-100])

    return damage


def replaced(folder: Path, by: Path | None) -> None:
    """Another folder in the place of the model's; None: an empty one."""
    shutil.rmtree(folder)
    if by is None:
        folder.mkdir()
    else:
        shutil.copytree(by, folder)


def trust(folder: Path) -> None:
    """Write the checksums of a deployed model whose files have changed."""
    contract = json.loads((folder / CONTRACT).read_text())
    contract["files"] = {name: sha256_of(folder / name) for name in contract["files"]}
    (folder / CONTRACT).write_text(json.dumps(sealed(contract)))


def stated(name: str, **fields: object):
    """Other content of a JSON file, with its checksum."""

    def change(folder: Path, _: Path) -> None:
        content = json.loads((folder / name).read_text()) | fields
        (folder / name).write_text(json.dumps(sealed(content)))

    return change


def other_arrays(change):
    def write(folder: Path, _: Path) -> None:
        arrays = load_file(folder / WEIGHTS)
        save_file({name: change(array) for name, array in arrays.items()}, folder / WEIGHTS)
        trust(folder)

    return write


def cut_and_trusted(folder: Path, _: Path) -> None:
    cut(WEIGHTS)(folder, _)
    trust(folder) if (folder / CONTRACT).exists() else seal(folder)


def of_transformers(folder: Path, _: Path) -> None:
    replaced(folder, None)
    (folder / SETTINGS).write_text(json.dumps({"architectures": ["BertModel"]}))
    (folder / "pytorch_model.bin").write_bytes(b"x")


def a_file(folder: Path, _: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


DEPLOYED = {
    "no folder": (lambda folder, _: shutil.rmtree(folder), CONTRACT, "found no such folder; exp"),
    "a file": (a_file, CONTRACT, "found a file; expected a folder such as results/finetune"),
    "empty": (lambda folder, _: replaced(folder, None), CONTRACT, "an empty folder; expected"),
    "pre-trained": (replaced, CONTRACT, "a pre-trained model, which has no classifier"),
    "task": (
        lambda folder, other: replaced(folder, other.parents[1] / "finetune" / TASK),
        CONTRACT,
        r"found a folder above \S+m/model, which is one",
    ),
    "transformers": (of_transformers, CONTRACT, "a pre-trained model, which has no classifier"),
    "no contract": (removed(CONTRACT), CONTRACT, f"no such file.*incomplete: {AGAIN}"),
    "no weights": (removed(WEIGHTS), WEIGHTS, f"no such file; {AGAIN}"),
    "no estimator": (removed(ESTIMATOR), ESTIMATOR, f"no such file; {AGAIN}"),
    "cut weights": (cut(WEIGHTS), WEIGHTS, rf"found sha256 \w+, expected \w+: .*; {AGAIN}"),
    "cut estimator": (cut(ESTIMATOR), ESTIMATOR, rf"found sha256 \w+, expected \w+: .*; {AGAIN}"),
    "cut contract": (cut(CONTRACT), CONTRACT, f"not JSON .*{AGAIN}"),
    "cut, trusted": (cut_and_trusted, WEIGHTS, f"not a valid model .*not fully covered.*{AGAIN}"),
    "one class": (stated(CONTRACT, classes=3), CONTRACT, f"classes: found 3: .*list; {AGAIN}"),
    "absurd size": (
        stated(CONTRACT, features="brainmass", encoder={"size": "tiny", "n_rois": 10**9}),
        CONTRACT,
        f"encoder.*{AGAIN}",
    ),
    "NaN": (
        other_arrays(lambda a: a * np.nan if a.dtype.kind == "f" else a),
        "",
        f"gives .*nan.*, expected .* do not belong to contract.json; {AGAIN}",
    ),
    "other shapes": (
        other_arrays(lambda a: a.ravel()[:3]),
        "",
        f"cannot be run here .* do not belong to contract.json; {AGAIN}",
    ),
}


@pytest.mark.parametrize("fault", DEPLOYED)
def test_predict_names_file_and_remedy(study, model_folder, tmp_path, refused, fault):
    folder = tmp_path / "m"
    shutil.copytree(model_folder, folder)
    damage, name, said = DEPLOYED[fault]
    damage(folder, study.paths.pretrain("brainmass"))
    message = refused("predict", folder, study.config.results, "--out", tmp_path / "scores.tsv")
    assert message.startswith(f"{folder / name}: ")
    assert re.search(said, message), message
    assert not (tmp_path / "scores.tsv").exists()


GIVE = "give a folder that `pretrain` or save_pretrained made"
PRETRAINED = {
    "no folder": (lambda folder, _: shutil.rmtree(folder), SETTINGS, "no such file; run: snakem"),
    "a file": (a_file, SETTINGS, "brainmass is a file, not a folder; run: snakemake"),
    "deployed": (replaced, SETTINGS, "but contract.json: the model of a task, for `predict` only"),
    "transformers": (of_transformers, WEIGHTS, f"but pytorch_model.bin, .* import-.* {GIVE}"),
    "another encoder": (
        lambda folder, _: (shutil.rmtree(folder), BrainLM(SERIES).save_pretrained(folder)),
        SETTINGS,
        f"n_rois is missing: not a valid model; {GIVE}",
    ),
    "no weights": (removed(WEIGHTS), WEIGHTS, f"no such file; run: snakemake .*{GIVE}"),
    "no settings": (removed(SETTINGS), SETTINGS, f"no such file; run: snakemake .*{GIVE}"),
    "cut weights": (cut(WEIGHTS), WEIGHTS, rf"found sha256 \w+, expected \w+: .*; {AGAIN}"),
    "cut settings": (cut(SETTINGS), SETTINGS, f"not JSON .*{GIVE}"),
    "cut, trusted": (cut_and_trusted, WEIGHTS, "not a complete safetensors file .*copy it again"),
    "other size": (stated(SETTINGS, size="huge"), SETTINGS, f"found size 'huge', .*{GIVE}"),
    "text": (stated(SETTINGS, n_rois="20"), SETTINGS, f"n_rois: found '20', expected .*{GIVE}"),
    "contradicts": (
        stated(SETTINGS, n_rois=30),
        WEIGHTS,
        rf"shape \(256, 20\), expected \(256, 30\).*, as config.json describes .*{GIVE}",
    ),
    "another atlas": (
        stated(SETTINGS, atlas="other"),
        SETTINGS,
        "atlas: the model has 'other', the task's FC 'rings'.*pre-train with the same atlas",
    ),
}


@pytest.mark.parametrize("fault", PRETRAINED)
def test_finetune_names_file_and_remedy(study, model_folder, tmp_path, refused, fault):
    own = copy_of(study, tmp_path)
    (tmp_path / "config.yaml").write_text(dump_config(own.config))
    folder = own.paths.pretrain("brainmass")
    damage, name, said = PRETRAINED[fault]
    damage(folder, model_folder)
    message = refused("finetune", "--config", tmp_path / "config.yaml", "--task", TASK)
    assert message.startswith(f"{folder / name}: ")
    assert re.search(said, message), message
