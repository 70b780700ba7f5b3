"""The table of stages agrees with the folders, the commands, the DAG and the hashes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.main import get_command

from brainmass_core.cli import app
from brainmass_core.config import parse_config
from brainmass_core.pipeline.dag import Study
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.stages import NAMES, STAGES

ROOT = Path(__file__).resolve().parents[2]
# one knob of each section, set to what is not its default
KNOBS = {
    "preprocess": {"resolution": 3.0},
    "atlas": {"n_rois": 100},
    "timeseries": {"smoothing_fwhm": 6.0},
    "connectivity": {"estimator": "ledoit_wolf"},
    "quality": {"outlier_z": 5.0},
    "pfc": {"drop_rate": 0.5},
    "pretrain": {"epochs": 3},
    "finetune": {"inner_splits": 4},
    "neural": {"max_epochs": 7},
    "few_shot": {"shots": [2]},
    "zero_shot": {"features": ["fc"]},
    "interpret": {"n_null": 200},
    "series_model": {"n_draws": 200},
    "report": {"title": "another"},
}
PARTS = {"finetune": ("few_shot", "zero_shot", "model")}


def configured(tmp_path: Path, **over):
    raw = {
        "results": str(tmp_path / "results"),
        "datasets": {
            "raw": {"kind": "bids", "role": "internal", "path": str(tmp_path), "batches": 2},
            "unseen": {"kind": "bids", "role": "external", "path": str(tmp_path)},
        },
        "tasks": {
            "dx": {
                "datasets": ["raw"],
                "label": "dx",
                "classes": {"a": ["0"], "b": ["1"]},
                "zero_shot_from": ["unseen"],
            }
        },
        "few_shot": {"shots": [5]},
    }
    return parse_config(raw | over)


def hashes(config) -> dict[str, set[str]]:
    """Hashes of each stage, with those of its parts."""
    names = {"batch": "raw", "dataset": "raw", "task": "dx", "page": "dx", "analysis": "x"}
    return {
        stage: {
            stage_hash(config, part, names.get(known.unit))
            for part in (stage, *PARTS.get(stage, ()))
        }
        for stage, known in STAGES.items()
    }


@pytest.mark.parametrize("stage", NAMES)
def test_a_stage_has_one_name_in_all_places(stage):
    assert (ROOT / "rules" / f"{stage}.smk").is_file()
    assert find_spec(f"brainmass_core.{stage}")
    assert stage in get_command(app).commands
    assert (ROOT / "tests" / stage).is_dir()
    assert f'include: "../rules/{stage}.smk"' in (ROOT / "workflow" / "Snakefile").read_text()


def test_no_stage_reads_a_later_one():
    for i, known in enumerate(STAGES.values()):
        assert set(known.reads) <= set(NAMES[:i]), known.name


def test_the_command_line_says_what_the_table_says():
    commands = get_command(app).commands
    assert {n: commands[n].help for n in NAMES} == {n: s.summary for n, s in STAGES.items()}


def test_the_dag_hands_a_stage_results_of_the_stages_that_it_reads(tmp_path):
    study = Study(configured(tmp_path))
    handed = {
        "timeseries": study.timeseries_inputs("raw", "0"),
        "quality": [*study.quality_inputs("raw", "0"), *study.cohort_inputs("raw")],
        "pretrain": [*study.pretrain_tables(), *study.tested_scans_tables()],
        "finetune": [*study.task_inputs("dx"), *study.zero_shot_inputs("dx")],
        "interpret": study.interpret_inputs("dx"),
        "series_model": study.series_model_inputs(),
        "report": [*study.report_inputs("dx"), *study.report_inputs("index")],
    }
    for stage, files in handed.items():
        parts = [Path(f).relative_to(study.config.results).parts for f in files]
        found = {p[1] if p[0] == "manifest" else p[0] for p in parts} - {stage}
        # pFC stands for the series that it is drawn from; no analysis is asked for
        missing = set(STAGES[stage].reads) - found - {"scans", "timeseries", "series_model"}
        assert found <= {*STAGES[stage].reads, "pfc"}, stage
        assert not missing, stage


@pytest.mark.parametrize("section", KNOBS)
def test_a_knob_changes_its_stages_and_no_stage_that_reads_none_of_them(section, tmp_path):
    before = hashes(configured(tmp_path))
    after = hashes(configured(tmp_path, **{section: KNOBS[section]}))
    changed = {stage for stage in NAMES if before[stage] != after[stage]}
    own = {stage for stage in NAMES if section in STAGES[stage].sections}
    reach = set(own)
    for stage in NAMES:
        if reach & set(STAGES[stage].reads):
            reach.add(stage)
    assert own, section
    assert own <= changed <= reach


def test_every_section_of_the_configuration_belongs_to_a_stage():
    from brainmass_core.config import Config

    sections = {s for known in STAGES.values() for s in known.sections}
    settings = {"results", "seed", "presets", "resources", "allow_same_ids"}
    assert set(Config.model_fields) - settings - {"max_failed_fraction", "scan_timeout"} == sections
