"""Bridges are inputs: if a field or a file of TemplateFlow changes, so do results that depend on
it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from copy import deepcopy
from pathlib import Path

import pytest

from brainmass_core.config import Config, parse_config
from brainmass_core.pipeline.dag import Study
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.scan_fingerprint import fingerprint
from brainmass_core.preprocess.anatomical.t1w import anatomical_key
from brainmass_core.preprocess.engines.greedy import DEFORMABLE
from brainmass_core.preprocess.files.derivatives import PreprocessInput
from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C, shipped
from brainmass_core.spaces.shipped import field_name, shipped_digest

RAW = {
    "datasets": {
        "raw": {"kind": "bids", "role": "internal", "path": "."},
        "ready": {"kind": "timeseries", "role": "external", "path": "."},
        "corpus": {"kind": "derivatives", "role": "pretrain", "path": "."},
    },
    "tasks": {
        "asd": {"datasets": ["raw"], "label": "dx", "classes": {"no": ["0"], "yes": ["1"]}},
        "mdd": {"datasets": ["ready"], "label": "dx", "classes": {"no": ["0"], "yes": ["1"]}},
    },
}
PARTS = {
    *(("preprocess", "raw"), ("timeseries", "raw"), ("timeseries", "corpus")),
    *(("timeseries", "ready"), ("connectivity", "raw"), ("connectivity", "ready")),
    *(("finetune", "mdd"), ("interpret", "mdd"), ("report", "mdd")),
    ("series_model", "reconstruction"),
}
OF_FIGURES = {("interpret", "mdd"), ("report", "mdd"), ("series_model", "reconstruction")}
PARCELLATED = {("timeseries", "raw"), ("connectivity", "raw"), ("timeseries", "corpus")}
# they are trained on `corpus`
ON_CORPUS = {("finetune", "mdd")}


def config(**sections: dict) -> Config:
    return parse_config(deepcopy(RAW) | sections)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of TemplateFlow."""
    folder = tmp_path / "templateflow"
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(folder))
    return folder


def transform(home: Path, space: str, origin: str, content: bytes = b"x") -> Path:
    file = home / f"tpl-{space}" / f"tpl-{space}_from-{origin}_mode-image_xfm.h5"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def with_another_field(folder: Path, monkeypatch: pytest.MonkeyPatch, *leg: str) -> None:
    """The package, with other content in one of its bridges."""
    shutil.copytree(shipped.DATA, folder)
    about = json.loads((folder / shipped.ABOUT).read_text())
    about["fields"][field_name(*leg)]["sha256"] = "0" * 64
    (folder / shipped.ABOUT).write_text(json.dumps(about))
    monkeypatch.setattr(shipped, "DATA", folder)


def changed(study: Config, folder: Path, monkeypatch: pytest.MonkeyPatch, *leg: str) -> set:
    before = {part: stage_hash(study, *part) for part in PARTS}
    with_another_field(folder, monkeypatch, *leg)
    return {part for part in PARTS if stage_hash(study, *part) != before[part]}


def test_another_field_of_the_package_makes_again_what_crosses_it(tmp_path, monkeypatch):
    touched = changed(config(), tmp_path / "data", monkeypatch, FSL, ICBM_2009A)
    assert touched == PARCELLATED | ON_CORPUS | OF_FIGURES


def test_a_field_that_nothing_crosses_changes_only_derivatives_of_any_space(tmp_path, monkeypatch):
    touched = changed(config(), tmp_path / "data", monkeypatch, FSL, ICBM_2009C)
    assert touched == {("timeseries", "corpus"), *ON_CORPUS, *OF_FIGURES}
    assert not {("timeseries", "raw"), ("timeseries", "ready")} & touched


def test_priors_that_come_over_a_bridge_make_preprocessing_depend_on_it(tmp_path, monkeypatch):
    study = config(preprocess={"template": FSL})
    touched = changed(study, tmp_path / "data", monkeypatch, FSL, ICBM_2009A)
    assert ("preprocess", "raw") in touched
    assert ("preprocess", "raw") not in changed(
        config(), tmp_path / "more", monkeypatch, ICBM_2009A, FSL
    )


def test_an_atlas_in_the_space_of_the_template_crosses_nothing(tmp_path, monkeypatch):
    study = config(atlas={"space": ICBM_2009A})
    touched = changed(study, tmp_path / "data", monkeypatch, FSL, ICBM_2009A)
    assert ("timeseries", "raw") not in touched


def test_the_digest_is_of_the_fields_that_a_pair_crosses(tmp_path, monkeypatch):
    pairs = [(FSL, ICBM_2009A), (FSL, ICBM_2009C), (ICBM_2009A, ICBM_2009C)]
    before = [shipped_digest(*pair) for pair in pairs]
    assert shipped_digest(FSL, FSL) == shipped_digest(FSL, "MNIInfant") == ""
    assert before[0] == shipped_digest(ICBM_2009A, FSL)
    everything = shipped_digest()
    with_another_field(tmp_path / "data", monkeypatch, ICBM_2009A, FSL)
    after = [shipped_digest(*pair) for pair in pairs]
    assert [a != b for a, b in zip(before, after, strict=True)] == [True, False, True]
    assert shipped_digest() != everything


def infant(home: Path) -> Config:
    """A study with a template that only TemplateFlow can bridge."""
    image = home / "tpl-MNIInfant_T1w.nii.gz"
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(b"x")
    return config(preprocess={"template": str(image), "template_mask": str(image)})


def inputs(study: Config, stage: str, *names: str) -> list[str]:
    return [Study(study).inputs(stage, name) for name in names or RAW["datasets"]]


@pytest.mark.parametrize("way", [("MNIInfant", FSL), (FSL, "MNIInfant")])
def test_a_transform_of_templateflow_is_an_input_of_timeseries(home: Path, way: tuple) -> None:
    study, absent = infant(home), inputs(infant(home), "timeseries")
    file = transform(home, *way)
    there = inputs(study, "timeseries")
    os.utime(file, ns=(1, 1))
    touched = inputs(study, "timeseries")
    for before, after in ((absent, there), (there, touched)):
        # raw, ready, derivatives
        assert [b != a for b, a in zip(before, after, strict=True)] == [True, False, True]


def test_transforms_that_the_package_replaces_or_nobody_crosses_are_no_inputs(home: Path) -> None:
    before = inputs(infant(home), "timeseries")
    transform(home, ICBM_2009C, FSL)
    transform(home, "MNI305", "MNIColin27")
    assert inputs(infant(home), "timeseries") == before


def test_a_transform_decides_which_derivatives_are_listed(home: Path) -> None:
    before = inputs(infant(home), "scans")
    transform(home, "MNIInfant", FSL)
    after = inputs(infant(home), "scans")
    assert [b != a for b, a in zip(before, after, strict=True)] == [False, False, True]


def test_what_template_and_priors_come_from_is_an_input_of_preprocess(home: Path) -> None:
    study = config(preprocess={"template": FSL})
    absent = inputs(study, "preprocess", "raw")
    for end in ("T1w", "desc-brain_mask"):
        file = home / f"tpl-{FSL}" / f"tpl-{FSL}_res-02_{end}.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    there = inputs(study, "preprocess", "raw")
    os.utime(file, ns=(1, 1))
    assert absent != there != inputs(study, "preprocess", "raw")
    alone = inputs(infant(home), "preprocess", "raw")
    transform(home, "MNIInfant", ICBM_2009A)
    assert inputs(infant(home), "preprocess", "raw") != alone


def test_the_anatomy_of_a_head_is_kept_for_one_bridge_of_its_priors(tmp_path, home, monkeypatch):
    head = home / "sub-1_T1w.nii.gz"
    image = head.with_name("own.nii.gz")
    infant(home)
    image.write_bytes(b"x")
    own = {"template": str(image), "template_mask": str(image), "template_space": FSL}
    settings = [config().preprocess, config(preprocess=own).preprocess]
    keys = [anatomical_key(head, s) for s in settings]
    with_another_field(tmp_path / "data", monkeypatch, FSL, ICBM_2009A)
    after = [anatomical_key(head, s) for s in settings]
    assert [k != a for k, a in zip(keys, after, strict=True)] == [False, True]


def test_a_head_that_greedy_bent_otherwise_is_bent_again_and_no_other(home, monkeypatch) -> None:
    kinds = ("syn", "syn_fast", "affine")
    settings = [config(preprocess={"registration": kind}).preprocess for kind in kinds]
    syn = {"engines": {"normalisation": "embedded"}}
    settings.append(config(preprocess=syn).preprocess)
    before = [anatomical_key(home / "T1w.nii.gz", s) for s in settings]
    assert len(set(before)) == 4
    for changed, kind in enumerate(("syn", "syn_fast")):
        with monkeypatch.context() as patch:
            patch.setitem(DEFORMABLE, kind, "-m WNCC 4x4x4 -n 60x40x20 -s 4vox 2vox -wp 0")
            after = [anatomical_key(home / "T1w.nii.gz", s) for s in settings]
        assert [i for i in range(4) if after[i] != before[i]] == [changed]


def test_a_scan_is_kept_for_one_state_of_its_template(tmp_path: Path) -> None:
    file = tmp_path / "T1w.nii.gz"
    file.write_bytes(b"x")

    def item(*template: Path) -> PreprocessInput:
        return PreprocessInput(
            {}, config().preprocess, tmp_path, tmp_path, "", tmp_path, (), template
        )

    packaged, own = fingerprint(item()), fingerprint(item(file))
    os.utime(file, ns=(1, 1))
    assert len({packaged, own, fingerprint(item(file))}) == 3
    # scans that were kept before this field existed remain valid
    fields = [f for f in dataclasses.fields(PreprocessInput) if f.name != "template"]
    older = dataclasses.make_dataclass("Item", [f.name for f in fields])
    assert fingerprint(older(*(getattr(item(), f.name) for f in fields))) == packaged
