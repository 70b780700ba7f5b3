"""The reference page and the schema agree with the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from brainmass_core.config import Config
from brainmass_core.config.load import PRESETS_DIR, _model_of
from brainmass_core.config.reference import (
    FOLDER,
    PAGE,
    SCHEMA,
    json_schema,
    reference_markdown,
    write,
)

REMEDY = "run: python -m brainmass_core.config.reference"


def test_the_committed_page_and_schema_are_the_generated_ones() -> None:
    assert (FOLDER / PAGE).read_text(encoding="utf-8") == reference_markdown(), REMEDY
    assert (FOLDER / SCHEMA).read_text(encoding="utf-8") == json_schema(), REMEDY


def test_writing_makes_both_files(tmp_path: Path) -> None:
    write(tmp_path / "reference")
    assert {f.name for f in (tmp_path / "reference").iterdir()} == {PAGE, SCHEMA}


def models(model: type[BaseModel] = Config) -> set[type[BaseModel]]:
    """Every section of the tree."""
    found = {model}
    for field in model.model_fields.values():
        below = _model_of(field.annotation)
        for argument in getattr(field.annotation, "__args__", ()):
            below = below or _model_of(argument)
        if below:
            found |= models(below)
    return found


def test_every_knob_has_a_meaning_and_stands_on_the_page() -> None:
    page = reference_markdown()
    assert len(models()) == 24
    for model in models():
        assert model.__doc__
        assert model.__doc__.splitlines()[0] in page
        for name, field in model.model_fields.items():
            assert f"| `{name}` |" in page
            section = _model_of(field.annotation)
            assert field.description or section, f"{model.__name__}.{name} lacks a description"


def validate(raw: Any) -> None:
    jsonschema.Draft202012Validator(json.loads(json_schema())).validate(raw)


def test_the_schema_accepts_the_shipped_config(root: Path) -> None:
    validate(yaml.safe_load((root / "config.yaml").read_text()))


@pytest.mark.parametrize("file", sorted(PRESETS_DIR.rglob("*.yaml")), ids=lambda f: f.stem)
def test_the_schema_accepts_the_shipped_presets(file: Path) -> None:
    dataset = {"kind": "bids", "role": "internal", "path": "."}
    validate(yaml.safe_load(file.read_text()) | {"datasets": {"x": dataset}, "tasks": None})


@pytest.mark.parametrize(
    "wrong",
    [{}, {"seed": -1}, {"sed": 1}, {"pfc": {"drop_rate": 1.5}}, {"pretrain": {"size": "huge"}}],
)
def test_the_schema_refuses_what_the_model_refuses(wrong: dict) -> None:
    dataset = {"kind": "bids", "role": "internal", "path": "."}
    with pytest.raises(jsonschema.ValidationError):
        validate({"datasets": {"x": dataset}, **wrong} if wrong else {})
