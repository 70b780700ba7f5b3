"""Loading a configuration: all errors at once, each with the value found and the remedy."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from brainmass_core.config import ConfigError, dump_config, list_presets, load_config, parse_config
from brainmass_core.config import load as loading
from brainmass_core.config.query import parse_query


def minimal(**over: object) -> dict:
    dataset = {"kind": "bids", "role": "internal", "path": "."}
    return {"datasets": {"abide": dataset}, **over}


def task(**over: object) -> dict:
    classes = {"control": ["0"], "patient": ["1"]}
    return {"datasets": ["abide"], "label": "dx", "classes": classes, **over}


def message(raw: object) -> str:
    with pytest.raises(ConfigError) as error:
        parse_config(raw, "my.yaml")
    return str(error.value)


def test_the_least_configuration_is_one_data_set() -> None:
    config = parse_config(minimal())
    assert config.datasets["abide"].batches == 1
    assert config.seed == 42


def test_dumping_and_loading_are_inverse() -> None:
    config = parse_config(minimal(tasks={"asd": task()}, pfc={"drop_rate": 0.3}))
    assert parse_config(yaml.safe_load(dump_config(config))) == config


def test_all_errors_are_reported_at_once() -> None:
    text = message(
        minimal(
            pfc={"drop_rate": -0.2},
            timeserie={"low_hz": 0.01},
            pretrain={"size": "huge", "epochs": 0},
            tasks={"asd": task(datasets=["abid"])},
            presets=["no/such"],
        )
        | {"datasets": {"abide": {"kind": "bids", "role": "internal", "path": "/not/here"}}}
    )
    assert text.startswith("my.yaml: 7 errors\n")
    for part in (
        "pfc.drop_rate: found -0.2",
        "timeserie: unknown key; did you mean 'timeseries'?",
        "pretrain.size: found 'huge'",
        "pretrain.epochs: found 0",
        "datasets.abide.path: found '/not/here': /not/here does not exist",
        "tasks.asd.datasets: there is no data set 'abid'; did you mean 'abide'?",
        "presets: there is no preset 'no/such'",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (minimal(pfc={"drop_rat": 0.1}), "pfc.drop_rat: unknown key; did you mean 'drop_rate'?"),
        (minimal(pretrain={"size": "tinny"}), "pretrain.size: found 'tinny'; did you mean 'tiny'?"),
        (minimal(pfc={"drop_rate": -0.1}), "pfc.drop_rate: found -0.1: input should be greater"),
        (minimal(pfc={"drop_rate": "some"}), "pfc.drop_rate: found 'some'"),
        (minimal(timeseries={"low_hz": 0.2}), "low_hz 0.2 must be below high_hz 0.1"),
        (minimal(tasks={"scans": task()}), "tasks.scans: a task cannot have the name of a stage"),
        (minimal(tasks={"a b": task()}), "tasks.a b"),
        (minimal(tasks={"asd": task(classes={"one": ["1"]})}), "tasks.asd.classes"),
        (
            minimal(tasks={"asd": task(classes={"no": [1], "yes": ["1", 2]})}),
            "a label value is in two classes",
        ),
        (
            minimal(tasks={"asd": task(classes={"a": [True], "b": ["no"]})}),
            "in quotes to keep them as text",
        ),
        (
            minimal(tasks={"asd": task(classes={"a": [["1"]], "b": ["2"]})}),
            "found ['1'], expected values of the column",
        ),
        (
            minimal(tasks={"asd": task(classes={"a": [None], "b": ["2"]})}),
            "found None, expected values of the column",
        ),
        (
            minimal(tasks={"asd": task(classes={"a": [float("nan")], "b": ["2"]})}),
            "found nan, expected values of the column",
        ),
        (minimal(results=""), "results: found '': the path is empty; write ."),
        (minimal(results=["x"] * 999), "'x', ..."),
        (minimal(timeseries={"low_hz": True}), "true and false are not values of this setting"),
        (minimal(resources={"preproces": {}}), "resources.preproces"),
        ({"datasets": {}}, "datasets"),
        ({}, "datasets: field required"),
        (["a", "list"], "found list, expected a mapping"),
    ],
)
def test_an_error_names_the_place_the_value_and_the_remedy(raw: object, expected: str) -> None:
    assert expected in message(raw)


def test_every_synthetic_data_set_is_bids() -> None:
    dataset = {"kind": "timeseries", "role": "internal", "path": "demo", "synthetic": {}}
    assert "set kind to bids" in message({"datasets": {"demo": dataset}})


def test_the_folder_of_a_synthetic_data_set_may_be_missing() -> None:
    dataset = {"kind": "bids", "role": "internal", "path": "not/yet", "synthetic": {}}
    assert parse_config({"datasets": {"demo": dataset}}).datasets["demo"].synthetic


WITHOUT_MODEL = {
    "finetune": {"methods": ["chance", "fc_svm", "untrained_svm", "brainnetcnn"]},
    "interpret": {"methods": ["fc_pattern"]},
}


def external(**over: object) -> dict:
    raw = minimal(**{"tasks": {"asd": task()}} | over)
    for dataset in raw["datasets"].values():
        dataset["role"] = "external"
    return raw


def test_external_data_alone_are_a_study_without_a_model() -> None:
    assert not parse_config(external(tasks={})).pretrains
    assert not parse_config(external(**WITHOUT_MODEL)).pretrains
    assert parse_config(minimal(tasks={"asd": task()})).pretrains


@pytest.mark.parametrize(
    ("over", "knobs"),
    [
        (
            {},
            [
                "finetune.methods (requires a model for brainmass_svm",
                "interpret.methods (requires a model for attention",
            ],
        ),
        (
            {"few_shot": {"shots": [1]}},
            ["few_shot.features (requires a model for brainmass) to some of fc"],
        ),
        (
            {"pretrain": {"model": "brainlm-13m"}, "finetune": {"methods": ["series_svm"]}},
            ["finetune.methods (requires a model for series_svm) to some of chance"],
        ),
        (
            {"pretrain": {"model": "brainlm-13m"}, "series_model": {"analyses": ["forecast"]}},
            ["series_model.analyses to []"],
        ),
    ],
)
def test_what_external_data_alone_cannot_have_is_named_with_what_they_can(
    over: dict, knobs: list[str]
) -> None:
    said = message(external(**(WITHOUT_MODEL if over else {}) | over))
    assert "all are external, so there are no participants to pre-train a model on" in said
    assert "role pretrain, or internal" in said
    for knob in knobs:
        assert knob in said


def test_the_remedies_for_external_data_alone_are_taken() -> None:
    said = message(external())
    chosen = re.findall(r"(\w+)\.(\w+) \(requires a model for [^)]*\) to some of ([\w, ]+)", said)
    assert {section for section, _, _ in chosen} == {"finetune", "interpret"}
    over = {section: {knob: names.split(", ")} for section, knob, names in chosen}
    assert not parse_config(external(**over)).pretrains
    raw = external()
    next(iter(raw["datasets"].values()))["role"] = "internal"
    assert parse_config(raw).pretrains


def test_a_data_set_for_pretraining_only_cannot_be_evaluated() -> None:
    raw = minimal(tasks={"asd": task()})
    raw["datasets"]["abide"]["role"] = "pretrain"
    assert "has role pretrain" in message(raw)


@pytest.mark.parametrize(
    ("handling", "column", "remedy"),
    [
        ("regress", "sex", "set confound_columns: [site, age, mean_fd]"),
        ("regress", "mean_fd", "set confound_columns: [site, sex, age]"),
        ("match", "sex", "set confounds: none"),
        ("combat", "site", "set confounds: none"),
    ],
)
def test_a_target_is_not_taken_out_of_the_features(handling: str, column: str, remedy: str) -> None:
    raw = minimal(tasks={"asd": task(confounds=handling)})
    raw["datasets"]["abide"]["phenotype"] = {f"{column}_column": raw["tasks"]["asd"]["label"]}
    found = message(raw)
    assert f"tasks.asd.confounds: {handling} removes {column}, which is the target" in found
    assert remedy in found
    raw["tasks"]["asd"]["confounds"] = "none"
    assert parse_config(raw).target_confounds("asd") == [column]


def test_missing_paths_pass_where_only_the_results_are_read() -> None:
    raw = {"datasets": {"x": {"kind": "bids", "role": "internal", "path": "/not/here"}}}
    assert parse_config(raw, check_paths=False).datasets["x"].path == Path("/not/here")


def test_a_section_without_content_keeps_its_defaults() -> None:
    assert parse_config(minimal(timeseries=None, tasks=None)) == parse_config(minimal())


# --- files ----------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"datasets: [", "not valid YAML"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"", "datasets: field required"),
        (b"seed: 1\nseed: 2\n", "the key 'seed' occurs twice"),
        (b"datasets:\n  abide: {}\n  abide: {}\n", "the key 'abide' occurs twice"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=expected) as error:
        load_config(file)
    assert str(file) in str(error.value)


# --- presets --------------------------------------------------------------------------------------


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timeseries").mkdir()
    (tmp_path / "timeseries" / "one.yaml").write_text("timeseries: {low_hz: 0.02, n_compcor: 7}")
    (tmp_path / "two.yaml").write_text("timeseries: {n_compcor: 9}\nfinetune: {methods: [fc_svm]}")
    monkeypatch.setattr(loading, "PRESETS_DIR", tmp_path)


@pytest.mark.usefixtures("presets")
def test_a_later_preset_wins_over_an_earlier_and_the_user_over_both() -> None:
    config = parse_config(
        minimal(presets=["timeseries/one", "two"], finetune={"methods": ["chance"]})
    )
    assert (config.timeseries.low_hz, config.timeseries.n_compcor) == (0.02, 9)
    assert config.finetune.methods == ["chance"]  # a list is replaced, not joined
    swapped = parse_config(minimal(presets=["two", "timeseries/one"]))
    assert swapped.timeseries.n_compcor == 7
    user = parse_config(minimal(presets=["timeseries/one"], timeseries={"n_compcor": 0}))
    assert (user.timeseries.low_hz, user.timeseries.n_compcor) == (0.02, 0)


@pytest.mark.usefixtures("presets")
def test_an_unknown_preset_gets_a_suggestion() -> None:
    text = message(minimal(presets=["timeseries/on", 3]))
    assert "no preset 'timeseries/on'; did you mean 'timeseries/one'?" in text
    assert "presets.1: found 3" in text


def test_a_preset_cannot_name_a_file_outside_the_package() -> None:
    assert "there is no preset '../config/x'" in message(minimal(presets=["../config/x"]))


# a task's preset lacks the path of the data: tests/finetune/test_finetune_catalogue.py
@pytest.mark.parametrize("name", [n for n in list_presets() if not n.startswith("tasks/")])
def test_every_shipped_preset_is_valid(name: str) -> None:
    config = parse_config(minimal(presets=[name]))
    alone = parse_config(minimal())
    changed = config.model_dump(exclude={"presets"}) != alone.model_dump(exclude={"presets"})
    # the defaults are also a preset
    assert changed or name == "timeseries/cpac-default"


def test_the_shipped_config_is_valid(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    config = load_config(root / "config.yaml")
    assert config.datasets


def test_an_error_between_sections_is_reported_once() -> None:
    task = {"datasets": ["abidex"], "label": "dx", "classes": {"a": ["1"], "b": ["2"]}}
    abide = {"kind": "timeseries", "role": "internal", "path": "."}
    raw = {"datasets": {"abide": abide}, "tasks": {"t": task}}
    with pytest.raises(ConfigError) as caught:
        parse_config(raw, "my.yaml", check_paths=False)
    assert str(caught.value).count("no data set 'abidex'") == 1
    assert str(caught.value).startswith("my.yaml: 1 error\n")


def read(tmp_path: Path, setting: str):
    """Read a configuration with one more setting, of its data set or at the end."""
    (tmp_path / "c.yaml").write_text(f"datasets: {{a: {{{DATASET}}}}}\n{setting}\n")
    return load_config(tmp_path / "c.yaml")


DATASET = "kind: bids, role: internal, path: ."


@pytest.mark.parametrize("value", ["'True'", "'False'", "'yes'", "'1'", "1", "0", "!!str no", "y"])
def test_a_switch_is_true_or_false_and_nothing_that_looks_like_it(tmp_path, value):
    with pytest.raises(ConfigError, match=r"timeseries\.global_signal: found .*: expected true or"):
        read(tmp_path, f"timeseries: {{global_signal: {value}}}")
    with pytest.raises(ConfigError, match=r"pretrain\.compile: found .* marks, or auto"):
        read(tmp_path, f"pretrain: {{compile: {value}}}")


def test_a_switch_as_yaml_writes_it_and_a_choice_beside_it_are_read(tmp_path):
    config = read(tmp_path, "timeseries: {global_signal: yes, csf: off}\npretrain: {compile: auto}")
    assert config.timeseries.global_signal is True
    assert config.timeseries.csf is False
    assert config.pretrain.compile == "auto"


@pytest.mark.parametrize("value", ["'1_0'", "'٣'", "'0x10'", "'1,5'", "'--1'", "'ten'"])
def test_text_is_a_number_only_if_it_is_written_as_one(tmp_path, value):
    expected = "expected a number, written with digits"
    for name in ("max_mean_fd", "n_dummy_volumes"):
        with pytest.raises(ConfigError, match=rf"preprocess\.{name}: found .*{expected}"):
            read(tmp_path, f"preprocess: {{{name}: {value}}}")


def test_quoted_numbers_and_exponents_without_a_point_are_their_numbers(tmp_path):
    config = read(tmp_path, "seed: '7'\npretrain: {lr: 1e-4}")
    assert (config.seed, config.pretrain.lr) == (7, 1e-4)


@pytest.mark.parametrize("value", [".inf", "-.inf", "'inf'", "1e400", ".nan", "1" + "0" * 400])
def test_a_limit_is_finite(tmp_path, value):
    with pytest.raises(ConfigError, match=r"preprocess\.max_mean_fd: found .* number"):
        read(tmp_path, f"preprocess: {{max_mean_fd: {value}}}")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *(("!!binary aGk=", "binary data"), ("2001-01-01", "a date"), ("!!set {x}", "a set")),
        ("2001-01-01t00:00:00", "a time"),
    ],
)
def test_what_only_yaml_has_is_neither_text_nor_a_list(tmp_path, value, kind):
    task = f"tasks: {{t: {{datasets: [a], label: dx, classes: {{p: [{value}], c: [q]}}}}}}"
    said = rf"tasks\.t\.classes\.p\.0: found .*, expected text or a number, not {kind}; put text in"
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, task)


@pytest.mark.parametrize("digits", [301, 5000])
@pytest.mark.parametrize("name", ["c.yaml", "c.json"])
def test_a_number_of_too_many_digits_names_its_setting(tmp_path, digits, name):
    whole = "1" + "0" * (digits - 1)
    classes = f'{{"p": [{whole}], "c": ["q"]}}'
    task = f'{{"t": {{"datasets": ["a"], "label": "dx", "classes": {classes}}}}}'
    dataset = '{"kind": "bids", "role": "internal", "path": "."}'
    (tmp_path / name).write_text(f'{{"datasets": {{"a": {dataset}}}, "tasks": {task}}}')
    with pytest.raises(ConfigError, match=r"c\.\w+: 1 error\n  tasks\.t\.classes\.p\.0: found"):
        load_config(tmp_path / name)


def test_what_is_no_regular_file_or_too_large_is_no_configuration(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("pipe", "zero", "folder"):
        with pytest.raises(ConfigError, match=f"{name}.yaml: not a regular file"):
            load_config(tmp_path / f"{name}.yaml")
    with open(tmp_path / "large.yaml", "wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(ConfigError, match="expected at most 16,777,216"):
        load_config(tmp_path / "large.yaml")


@pytest.mark.parametrize(
    "query",
    [
        "age.to_csv('{place}')",
        "age.__class__.__init__.__globals__['sys'].modules['os'].system('touch {place}')",
        "@task.name == 'x'",
        "age.map(print) == 1",
        "print(age)",
        "(lambda: 1)() == 1",
        "[x for x in age] == 1",
        "age[0] == 1",
        "age = 3",
        "'a' * 1000000000 == sex",
        "9 ** 9 ** 9 > age",
        "age >",
        "f'{{age}}' == sex",
        "(age := 1) == 1",
    ],
)
def test_a_query_runs_no_code(tmp_path, query):
    place = tmp_path / "written"
    with pytest.raises(ValueError, match=r"expected (comparisons|a comparison) of columns"):
        parse_query(query.format(place=place))
    assert not place.exists()


def test_a_query_that_is_none_is_an_error_of_the_configuration(tmp_path):
    raw = {"tasks": {"t": {"datasets": ["d"], "label": "dx", "exclude": "age.to_csv('x')"}}}
    with pytest.raises(ConfigError, match=r"tasks\.t\.exclude: .*contains \.to_csv"):
        parse_config(raw)


def test_a_message_lists_fifty_errors_and_counts_the_others():
    with pytest.raises(ConfigError) as refused:
        parse_config({"tasks": {"dx": {"label": "DX", "datasets": [1.0] * 1000}}}, "x.yaml")
    lines = str(refused.value).splitlines()
    assert len(lines) == 52
    n = int(re.search(r"(\d+) errors", lines[0])[1])
    assert n >= 1000
    assert lines[-1] == f"  ... and {n - 50} more"
