"""Read, expand and validate ``config.yaml``; report all errors at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from brainmass_core.config.base import near_miss
from brainmass_core.config.model import Config
from brainmass_core.config.yaml_file import TOO_DEEP, ConfigError, read_yaml

BEYOND = 10**300  # largest number; floats end at 1.8e308
KINDS = {"date": "a date", "datetime": "a time", "bytes": "binary data", "set": "a set"}
LONGEST = 200  # characters of a value in a message
MOST_ERRORS = 50  # that a message lists
PRESETS_DIR = Path(__file__).parent.parent / "presets"


def deep_merge(base: dict, over: dict) -> dict:
    """Merge two nested dicts, `over` winning; lists are replaced, not joined."""
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = deep_merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def list_presets() -> list[str]:
    """Names of the shipped presets, such as ``timeseries/cpac-default``."""
    files = PRESETS_DIR.rglob("*.yaml")
    return sorted(p.relative_to(PRESETS_DIR).with_suffix("").as_posix() for p in files)


def expand_presets(raw: dict) -> dict:
    """Merge the user's values over the presets that they name; later presets override earlier ones.

    Presets that do not exist are reported by `Config`, with all other errors.
    """
    names = raw.get("presets") or []
    known = list_presets()
    merged: dict = {}
    for name in names if isinstance(names, list) else []:
        if name in known:
            merged = deep_merge(merged, read_yaml(PRESETS_DIR / f"{name}.yaml") or {})
    return deep_merge(merged, {k: v for k, v in raw.items() if v is not None})


def parse_config(raw: Any, source: str = "config", check_paths: bool = True) -> Config:
    """Validate a nested dict.

    Parameters
    ----------
    raw : dict
        Content of the YAML file, before presets are expanded. A section without content counts as
        not given.
    source : str
        Name of the file, for messages.
    check_paths : bool
        Whether paths of data must exist.

    Raises
    ------
    ConfigError
        With one line per error: path, value, what is allowed, a near-miss suggestion.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: found {type(raw).__name__}, expected a mapping of settings")
    odd = dict(_no_settings(raw, ()))
    merged = expand_presets(raw)
    lines = [*odd.values(), *_unknown_presets(raw)]
    try:
        config = Config.model_validate(merged, context={"check_paths": check_paths})
    except ValidationError as error:
        lines += [_explain(e) for e in error.errors() if not _below(e["loc"], odd)]
        lines += _hidden_errors(merged, error)
    if lines:
        lines = list(dict.fromkeys("\n".join(lines).splitlines()))
        n = len(lines)
        if n > MOST_ERRORS:
            lines[MOST_ERRORS:] = [f"  ... and {n - MOST_ERRORS} more"]
        raise ConfigError(f"{source}: {n} error{'s' * (n > 1)}\n" + "\n".join(lines))
    return config


def load_config(path: Path | str, check_paths: bool = True) -> Config:
    """Read and validate a configuration file.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, or does not fit the model.
    """
    raw = read_yaml(Path(path))
    try:
        return parse_config({} if raw is None else raw, str(path), check_paths)
    except RecursionError:
        raise ConfigError(f"{path}: {TOO_DEEP}") from None


def parse_section(name: str, settings: dict[str, Any]) -> Any:
    """Validate one section alone, for use from Python.

    Raises
    ------
    ConfigError
        As of `parse_config`.
    """
    section = _model_of(Config.model_fields[name].annotation)
    assert section is not None, name
    try:
        return section.model_validate(settings)
    except ValidationError as error:
        found = [_explain({**e, "loc": (name, *e["loc"])}) for e in error.errors()]
        raise ConfigError("\n".join(line.strip() for line in found)) from None


def _no_settings(node: Any, where: tuple) -> Iterator[tuple[tuple, str]]:
    """Places of a tree that hold what no setting is, with what to write: YAML's dates, bytes, sets.

    As the text of a class such a value would be spelled otherwise than the file has it.
    """
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _no_settings(key, (*where, key))
            yield from _no_settings(value, (*where, key))
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _no_settings(value, (*where, i))
    elif isinstance(node, int | float):
        if not abs(node) < BEYOND:
            expected = "a finite number of at most 300 digits; put text in quotes"
            yield where, _line(where, node, expected)
    elif node is not None and not isinstance(node, str | Path):
        kind = KINDS.get(type(node).__name__, type(node).__name__)
        remedy = f"text or a number, not {kind}; put text in quotes, without a tag (!!)"
        yield where, _line(where, node, remedy)


def _line(where: tuple, value: Any, expected: str) -> str:
    return f"  {'.'.join(map(str, where))}: found {_shown(value)}, expected {expected}"


def _below(place: tuple, others: Iterable[tuple]) -> bool:
    """Whether a place of the tree is one of others, or lies in it."""
    return any(tuple(map(str, place[: len(o)])) == tuple(map(str, o)) for o in others)


def _unknown_presets(raw: dict) -> Iterator[str]:
    names = raw.get("presets") or []
    known = list_presets()
    for name in names if isinstance(names, list) else []:
        if name not in known:
            yield f"  presets: there is no preset {name!r}{near_miss(str(name), known)}"


def _hidden_errors(raw: dict, first: ValidationError) -> list[str]:
    """Errors between sections, which pydantic only checks if every section is valid.

    Invalid values are removed (and missing paths are not checked), and the rest is validated again.
    """
    rest = deepcopy(raw)
    for found in first.errors():
        _cut(rest, found["loc"])
    try:
        Config.model_validate(rest, context={"check_paths": False})
    except ValidationError as second:
        return [_explain(e) for e in second.errors() if not e["loc"] and e["type"] == "value_error"]
    return []


def _cut(tree: Any, location: tuple) -> None:
    """Remove the value at a location of a nested dict, unless it is a required path."""
    for part in location[:-1]:
        if not isinstance(tree, dict) or part not in tree:
            return
        tree = tree[part]
    if isinstance(tree, dict) and location and location[-1] != "path":
        tree.pop(location[-1], None)


def _explain(error: Any) -> str:
    where = ".".join(str(p) for p in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = _fields_at(error["loc"][:-1])
        return f"  {where}: unknown key{near_miss(str(error['loc'][-1]), known)}"
    if error["type"] == "literal_error":
        choices = [c.strip("' ") for c in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        return f"  {where}: found {_shown(error['input'])}{near_miss(str(error['input']), choices)}"
    if error["type"] == "value_error" and not where:
        return "\n".join(f"  {line}" for line in message.splitlines())
    found = "" if error["type"] == "missing" else f"found {_shown(error['input'])}: "
    return f"  {where}: {found}{message[:1].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _fields_at(location: tuple) -> list[str]:
    """Keys allowed at a location of the tree, for suggestions."""
    annotation: Any = Config
    for part in location:
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            continue
        fields = getattr(_model_of(annotation), "model_fields", {})
        if str(part) not in fields:
            return []
        annotation = fields[str(part)].annotation
    return list(getattr(_model_of(annotation), "model_fields", {}))


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model class inside an annotation such as ``Synthetic | None``."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def dump_config(config: Config) -> str:
    """The complete configuration as YAML, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
