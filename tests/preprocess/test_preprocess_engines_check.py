"""Missing programs are reported before any work begins, with the setting, the program and its
source.
"""

from __future__ import annotations

import sys
from typing import get_args

import pytest
import yaml
from preprocess_programs import install
from typer.testing import CliRunner

from brainmass_core import preprocess
from brainmass_core.cli import app
from brainmass_core.config import ConfigError, parse_config
from brainmass_core.config.preprocess import Engines
from brainmass_core.pipeline.dag import Study
from brainmass_core.preprocess.engines import ENTRIES, WHERE, engine, missing, programs

CHOICES = [
    (step, name)
    for step, field in Engines.model_fields.items()
    for name in get_args(field.annotation)
    if name != "embedded"
]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without any program."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FSLDIR", raising=False)
    monkeypatch.delenv("BRAINMASS_SKIP_ENGINE_CHECK", raising=False)


@pytest.fixture
def raw(tmp_path):
    data = {"kind": "bids", "role": "internal", "path": str(tmp_path)}
    chosen = {"motion": "fsl", "despike": "afni"}
    return {
        "results": str(tmp_path / "results"),
        "datasets": {"raw": data},
        "preprocess": {"engines": chosen},
    }


@pytest.mark.study
@pytest.mark.parametrize(("step", "name"), CHOICES)
def test_every_engine_of_the_configuration_exists(step, name):
    assert callable(engine(step, name))
    assert programs(step, name) or ENTRIES[step, name].packages


def test_every_engine_is_one_of_the_configuration():
    assert set(ENTRIES) - {("unwrap", "fsl")} == set(CHOICES)


@pytest.mark.parametrize("name", ["embedded", "spm"])
def test_an_engine_that_does_not_exist_is_refused(name):
    with pytest.raises(ValueError, match=r"no engine .* does 'motion'; expected one of \['afni'"):
        engine("motion", name)


def test_the_embedded_engines_need_nothing(nowhere):
    assert missing(Engines()) == []
    assert programs("motion", "embedded") == ()


@pytest.mark.parametrize(("step", "name"), CHOICES)
def test_what_is_missing_is_named_with_knob_and_source(nowhere, monkeypatch, step, name):
    for package in ENTRIES[step, name].packages:
        monkeypatch.setattr(
            "brainmass_core.preprocess.engines.find_spec",
            lambda p, absent=package: p != absent or None,
        )
    lines = missing(Engines(**{step: name}))
    (line,) = [line for line in lines if f"preprocess.engines.{step} is {name}" in line]
    assert len(lines) == 1 + (name == "simpleitk")  # Greedy, the default, needs SimpleITK as well
    for program in programs(step, name):
        assert program in line
    assert any(text in line for text in WHERE.values())
    assert "choose embedded" in line
    assert ("FSLDIR" in line) == (name == "fsl")


def test_nothing_is_missing_where_the_programs_are(tmp_path, monkeypatch):
    made = install(tmp_path / "programs", monkeypatch)
    for step, name in CHOICES:
        for program in programs(step, name):
            made.says(program)
    for step, name in CHOICES:
        if name in ("fsl", "afni") or programs(step, name):
            assert missing(Engines(**{step: name})) == []


def test_an_fsl_without_its_schedules_is_told(tmp_path, monkeypatch):
    made = install(tmp_path / "programs", monkeypatch)
    made.says("flirt")
    (made.folder / "fsl/etc/flirtsch/bbr.sch").unlink()
    (line,) = missing(Engines(coregistration="fsl"))
    assert "etc/flirtsch/bbr.sch was not found" in line


def test_snakemake_refuses_before_any_job_and_lists_all(nowhere, raw, tmp_path):
    with pytest.raises(ConfigError, match=r"(?s)3dDespike.*mcflirt.*BRAINMASS_SKIP_ENGINE_CHECK=1"):
        Study(parse_config(raw)).start()
    assert not (tmp_path / "results").exists()


def test_snakemake_leaves_the_check_to_the_jobs_where_asked(nowhere, raw, monkeypatch):
    monkeypatch.setenv("BRAINMASS_SKIP_ENGINE_CHECK", "1")
    Study(parse_config(raw)).start()


def test_a_study_without_raw_data_needs_no_engine(nowhere, raw):
    raw["datasets"]["raw"]["kind"] = "derivatives"
    Study(parse_config(raw)).start()


@pytest.mark.parametrize("skip", ["0", "1"])
def test_a_job_looks_for_itself(nowhere, raw, monkeypatch, skip):
    monkeypatch.setenv("BRAINMASS_SKIP_ENGINE_CHECK", skip)
    with pytest.raises(ConfigError, match=r"(?s)3dDespike.*mcflirt"):
        preprocess.run(parse_config(raw), "raw", 0, 1)


def test_config_check_warns_and_the_configuration_is_valid(nowhere, raw, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(raw))
    done = CliRunner().invoke(app, ["config", "check", str(file)])
    assert done.exit_code == 0, done.output
    assert "valid" in done.output
    assert "warning: preprocess.engines.motion is fsl, but mcflirt" in done.output


@pytest.mark.study
def test_the_check_loads_neither_nipype_nor_ants():
    import subprocess

    code = (
        "import sys, brainmass_core.preprocess.engines; "
        "sys.exit(bool({'nipype', 'ants', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
