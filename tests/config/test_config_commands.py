"""Values that cannot be a name, a path or a pattern are refused with the reason, before a command
runs.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from brainmass_core.config import ConfigError, parse_config
from brainmass_core.config.base import RULES
from brainmass_core.config.yaml_file import read_yaml
from brainmass_core.pipeline.dag import Study
from brainmass_core.pipeline.stages import STAGES

ROOT = Path(__file__).parents[2]


def config(
    tmp_path: Path,
    name: str = "d",
    tasks: tuple[str, ...] = (),
    over=None,
    check_paths=True,
    **dataset,
):
    data = {"kind": "timeseries", "role": "internal", "path": str(tmp_path), "t_r": 2} | dataset
    task = {"datasets": [name], "label": "x", "classes": {"a": ["0"], "b": ["1"]}}
    raw = {"datasets": {name: data}, "atlas": {"n_rois": 3}, "tasks": dict.fromkeys(tasks, task)}
    return parse_config(raw | (over or {}), check_paths=check_paths)


@pytest.mark.parametrize(
    "name",
    [
        *("..", ".", "", "a/b", "a\\b", "-x", "_x", "1x", "a b", "a\n", "a;b", "$(b)", "{a}", "ä"),
        *("x" * 81, "timeseries", "scans", "pretrain", "all"),
    ],
)
def test_what_is_no_name_of_a_data_set_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="datasets"):
        config(tmp_path, name)


@pytest.mark.parametrize("name", ["..", "a/b", "-x", "timeseries", "index", "Index", *RULES])
def test_what_is_no_name_of_a_task_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="tasks"):
        config(tmp_path, tasks=(name,))


def test_tasks_that_differ_only_in_case_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="tasks: two names differ only in case"):
        config(tmp_path, tasks=("dx", "DX"))


@pytest.mark.parametrize("name", ["demo", "abide-1", "A_b", "x" * 80])
def test_ordinary_names_are_accepted(tmp_path, name):
    assert name in config(tmp_path, name, tasks=("scores",)).datasets


def test_every_rule_of_the_workflow_is_a_name_that_no_task_may_have():
    rules = [
        name
        for file in [*ROOT.glob("rules/*.smk"), ROOT / "workflow" / "Snakefile"]
        for name in re.findall(r"^(?:rule|checkpoint) (\w+):", file.read_text(), flags=re.M)
    ]
    assert len(rules) > 20
    assert set(rules) <= {*RULES, *STAGES}


def test_every_shell_command_quotes_what_it_is_given():
    for file in ROOT.glob("rules/*.smk"):
        for line in file.read_text().splitlines():
            if re.match(r'\s+" ?(brainmass|-)', line):
                for field in re.findall(r"\{([^}]+)\}", line):
                    assert field.endswith(":q") or field == "resources.cpus_per_task", line


@pytest.mark.parametrize("pattern", ["/etc/*", "../*.npy", "a/../../*.npy", "", "~/x/*.npy", ".."])
def test_a_pattern_cannot_leave_the_data_set(tmp_path, pattern):
    with pytest.raises(ConfigError, match="expected a pattern of files inside"):
        config(tmp_path, pattern=pattern)


@pytest.mark.parametrize(
    "pattern", ["*", "**/*.npy", "sub-*/ses-*/*.1D", "a..b/*.npy", "[ab]*.tsv"]
)
def test_patterns_inside_are_accepted(tmp_path, pattern):
    assert config(tmp_path, pattern=pattern).datasets["d"].pattern == pattern


@pytest.mark.parametrize(
    "results", ["a{b}c", "a}b", "a\nb", "a\tb", "a\x00b", "a\x1bb", "~/results"]
)
def test_results_that_snakemake_or_a_shell_cannot_name_are_refused(tmp_path, results):
    with pytest.raises(ConfigError, match=r"results: .*(braces|cannot be shown|home folder)"):
        config(tmp_path, over={"results": results})


def section(name, value):
    """A configuration whose setting of a dotted name is a path."""
    over = {}
    at = over
    *outer, last = name.split(".")
    for part in outer:
        at = at.setdefault(part, {})
    at[last] = value
    return over


PATHS = ["results", "atlas.path", "atlas.labels", "preprocess.template", "report.compare"]


@pytest.mark.parametrize("path", ["~/x", "~anna/x", "$HOME/x", "${HOME}/x", "a/$USER", "$DATA"])
@pytest.mark.parametrize("name", [*PATHS, "path", "phenotype", "template_mask", "synthetic"])
@pytest.mark.parametrize("check_paths", [True, False])
def test_home_and_variables_of_a_shell_are_refused_in_every_path(tmp_path, name, path, check_paths):
    settings = {"path": {"path": path}, "phenotype": {"phenotype": {"path": path}}}
    settings["synthetic"] = {"kind": "bids", "path": path, "synthetic": {}}
    over = section(name, [path] if name == "report.compare" else path) if name in PATHS else {}
    if name == "template_mask":
        over = {"preprocess": {"template": str(tmp_path / "t.nii"), "template_mask": path}}
        (tmp_path / "t.nii").touch()
    with pytest.raises(ConfigError, match=r"`[~$].* is not replaced by .*; write it out"):
        config(tmp_path, over=over, check_paths=check_paths, **settings.get(name, {}))


def test_a_dollar_that_no_shell_replaces_is_part_of_a_name(tmp_path):
    for name in ("$(x)", "5$", "a $ b", "$1"):
        (tmp_path / name).mkdir()
        assert config(tmp_path, path=str(tmp_path / name))


def test_a_data_set_that_is_written_first_has_no_braces_in_its_path(tmp_path):
    with pytest.raises(ConfigError, match=r"datasets.d.path: .*braces"):
        config(tmp_path, kind="bids", path=str(tmp_path / "{x}"), synthetic={})
    (tmp_path / "{x}").mkdir()
    assert config(tmp_path, path=str(tmp_path / "{x}"))


def test_a_path_with_a_line_break_is_refused_wherever_it_is_read(tmp_path):
    (tmp_path / "a\nb").mkdir()
    with pytest.raises(ConfigError, match=r"datasets.d.path: .*'\\n'"):
        config(tmp_path, path=str(tmp_path / "a\nb"))
    with pytest.raises(ConfigError, match=r"atlas.labels: .*'\\n'"):
        config(tmp_path, over={"atlas": {"n_rois": 3, "labels": str(tmp_path / "a\nb")}})


@pytest.mark.parametrize(
    "text",
    [
        "seed: 1\nseed: 2\n",
        "pfc:\n  n_views: 4\n  n_views: 8\n",
        "a: [{b: 1, b: 2}]\n",
        "{seed: 1, 'seed': 2}\n",
        "a: {yes: 1, true: 2}\n",
        "a: {1: x, +1: y}\n",
        "a: &x {b: 1}\nc: {<<: *x, d: 1, d: 2}\n",
        "? &k seed\n: 1\n*k : 2\n",
    ],
)
def test_a_key_that_is_written_twice_is_refused_at_any_depth(tmp_path, text):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="occurs twice"):
        read_yaml(file)


def test_a_key_over_that_of_a_merge_is_no_repetition(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("a: {deep: {deeper: &m {<<: &b {x: 1, y: 1}, x: 2}}}\ntop: {<<: [*m, *b]}\n")
    found = read_yaml(file)
    assert found["a"]["deep"]["deeper"] == {"x": 2, "y": 1}
    assert found["top"] == {"x": 2, "y": 1}


@pytest.mark.parametrize(
    ("name", "text"), [("s.yaml", "seed: 1\nseed: 2\n"), ("s.json", '{"seed": 1, "seed": 2}')]
)
def test_snakemakes_way_into_the_configuration_refuses_it_too(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=r"'seed' occurs twice"):
        Study.load({"seed": 2}, [tmp_path / name])
