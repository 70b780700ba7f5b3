"""Commands, targets and settings that a message recommends exist.

All strings of the package except docstrings are read. A dotted name counts as a setting if it
begins with a section of the configuration, a single name if it contains an underscore and follows a
verb such as ``set``. Values that an f-string inserts are assumed to be right.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel
from typer.main import get_command

import brainmass_core
from brainmass_core import tables
from brainmass_core.cli import app
from brainmass_core.config.model import Config
from brainmass_core.pipeline.stages import STAGES

PACKAGE = Path(brainmass_core.__file__).parent
FILLED_IN = "{}"
DOTTED = re.compile(r"(?<![\w./{}\\-])([a-z]\w*)((?:\.(?:\w+|\{\}))+)", re.ASCII)
AFTER_A_VERB = re.compile(r"\b(?:set|raise|lower|remove|under) `?([a-z]+(?:_[a-z]+)+)\b(?![.(])")
TARGET = re.compile(r"snakemake --cores all (\w+|\{\})")
COMMAND = re.compile(r"(?:: |`)brainmass ([a-z][\w-]*)")


@cache
def trees() -> dict[str, ast.Module]:
    """Parsed modules of the package, by path."""
    files = sorted(PACKAGE.rglob("*.py"))
    return {str(f.relative_to(PACKAGE)): ast.parse(f.read_text()) for f in files}


def text_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each string except docstrings; ``{}`` replaces the values of an f-string."""
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(node.value)  # a docstring
        if isinstance(node, ast.JoinedStr):
            left_out |= set(node.values)
            parts = [v.value if isinstance(v, ast.Constant) else FILLED_IN for v in node.values]
            yield node.lineno, "".join(map(str, parts))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in left_out:
            yield node.lineno, node.value


@cache
def texts() -> list[tuple[str, str]]:
    """Location and text of all possible messages of the package."""
    found = []
    for name, tree in trees().items():
        found += [(f"{name}:{line}", text) for line, text in text_of(tree)]
    pages = sorted(PACKAGE.rglob("*.jinja"))
    return found + [(str(f.relative_to(PACKAGE)), f.read_text()) for f in pages]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


@cache
def sections() -> dict[str, list[type[BaseModel]]]:
    """Models of all sections of the configuration, by name."""
    found: dict[str, list[type[BaseModel]]] = {"": [Config]}

    def add(model: type[BaseModel]) -> None:
        for name, field in model.model_fields.items():
            for inner in models_in(field.annotation):
                if inner not in found.setdefault(name, []):
                    found[name].append(inner)
                    add(inner)

    add(Config)
    return found


def exists(path: str) -> bool:
    """Whether a dotted path leads to a setting from any section."""
    first, *rest = path.split(".")
    parents = [m for models in sections().values() for m in models if first in m.model_fields]
    return any(_leads(model.model_fields[first].annotation, rest) for model in parents)


def _leads(annotation: Any, rest: list[str]) -> bool:
    if not rest:
        return True
    if get_origin(annotation) is dict:
        keys, values = get_args(annotation)
        if get_origin(keys) is Literal and rest[0] not in (FILLED_IN, *get_args(keys)):
            return False
        return _leads(values, rest[1:])
    inner = list(models_in(annotation))
    if rest[0] == FILLED_IN:
        return bool(inner)
    return any(
        rest[0] in m.model_fields and _leads(m.model_fields[rest[0]].annotation, rest[1:])
        for m in inner
    )


def knobs_in(text: str) -> list[str]:
    dotted = [m[0] for m in DOTTED.finditer(text) if m[1] in sections()]
    return dotted + AFTER_A_VERB.findall(text)


def rules() -> set[str]:
    root = PACKAGE.parent
    files = [root / "workflow" / "Snakefile", *(root / "rules").glob("*.smk")]
    return set(re.findall(r"^rule (\w+):", "\n".join(f.read_text() for f in files), re.MULTILINE))


def test_targets_that_are_named_exist():
    named = [(where, t) for where, text in texts() for t in TARGET.findall(text)]
    assert len(named) > 10
    targets = {"all", *STAGES} & rules()
    assert set(STAGES) < targets
    assert [n for n in named if n[1] not in (*targets, FILLED_IN)] == []


def test_a_command_line_is_never_without_the_number_of_cores():
    short = re.compile(r"(?:run:|<code>) ?snakemake (?!--cores all\b)")
    assert [where for where, text in texts() if short.search(text)] == []


def test_the_target_that_makes_a_table_again_exists():
    calls = [
        node
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read_table"
    ]
    arguments = [call.args[1] for call in calls if len(call.args) > 1]
    names = {a.value for a in arguments if isinstance(a, ast.Constant)}
    assert {"scans", "timeseries", "metrics"} <= names
    made_by = {n: tables.MADE_BY.get(n, n) for n in names | tables.MADE_BY.keys()}
    assert {n: t for n, t in made_by.items() if t not in ("", *STAGES)} == {}


def test_commands_that_are_named_exist():
    named = [(where, c) for where, text in texts() for c in COMMAND.findall(text)]
    assert len(named) > 3
    commands = get_command(app).commands.keys()
    assert [n for n in named if n[1] not in commands] == []


def test_knobs_that_are_named_exist():
    named = [
        (where, knob)
        for where, text in texts()
        if ".jinja" not in where  # whose variables look like settings
        for knob in knobs_in(text)
    ]
    assert len(named) > 150
    assert [n for n in named if not exists(n[1])] == []


@pytest.mark.parametrize(
    ("source", "knob"),
    [
        ('f"raise resources.{stage}.mem_mb"', "resources.{}.mem_mb"),
        ('"set resources." "preprocess.mem_mb to 1"', "resources.preprocess.mem_mb"),
        ('f"{path}: set tasks.{name}.protocol.n_splits"', "tasks.{}.protocol.n_splits"),
        ('"with phenotype.site_column"', "phenotype.site_column"),
        ('"raise scan_timeout"', "scan_timeout"),
        ('"under allow_same_ids"', "allow_same_ids"),
    ],
)
def test_a_knob_is_recognised_and_exists(source, knob):
    ((_, text),) = text_of(ast.parse(f"x = {source}"))
    assert knobs_in(text) == [knob]
    assert exists(knob)


@pytest.mark.parametrize(
    "text",
    [
        "raise resources.preproces.mem_mb",
        "set resources.{}.memory",
        "set tasks.{}.n_splits",
        "set tasks.{}.protocol.n_folds",
        "lower timeseries.max_empty_parcels",
        "set atlas.name.first",
        "raise scan_time_out",
    ],
)
def test_a_knob_that_does_not_exist_is_noticed(text):
    (knob,) = knobs_in(text)
    assert not exists(knob)


def test_file_names_modules_and_what_is_filled_in_are_no_knobs():
    assert knobs_in("see results/report.html, brainmass_core.report.compare and {x}.tasks.y") == []
    assert list(text_of(ast.parse('"""set pfc.no"""\ndef f():\n    """set pfc.no"""'))) == []
