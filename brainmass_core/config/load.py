"""Read, expand and validate ``config.yaml``; say everything that is wrong with it at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from brainmass_core.config.model import Config, near_miss

PRESETS_DIR = Path(__file__).parent.parent / "presets"


class ConfigError(ValueError):
    """A configuration that cannot be used; the message lists every error at once."""


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
    return sorted(
        p.relative_to(PRESETS_DIR).with_suffix("").as_posix() for p in PRESETS_DIR.rglob("*.yaml")
    )


def expand_presets(raw: dict) -> dict:
    """Lay the user's values over the presets that they name."""
    names = raw.get("presets") or []
    merged: dict = {}
    for name in names if isinstance(names, list) else []:
        file = PRESETS_DIR / f"{name}.yaml"
        if name not in list_presets():
            raise ConfigError(
                f"presets: there is no preset {name!r}{near_miss(name, list_presets())}"
            )
        merged = deep_merge(merged, yaml.safe_load(file.read_text()) or {})
    return deep_merge(merged, raw)


def parse_config(raw: Any, source: str = "config", check_paths: bool = True) -> Config:
    """Validate a nested dict.

    Parameters
    ----------
    raw : dict
        What the YAML file holds, presets not yet expanded.
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
    try:
        return Config.model_validate(expand_presets(raw), context={"check_paths": check_paths})
    except ValidationError as error:
        lines = [_explain(e) for e in error.errors()]
        raise ConfigError(
            f"{source}: {len(lines)} error{'s' * (len(lines) > 1)}\n" + "\n".join(lines)
        ) from None


def load_config(path: Path | str, check_paths: bool = True) -> Config:
    """Read and validate a configuration file.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, or does not fit the model.
    """
    path = Path(path)
    if not path.exists():
        raise ConfigError(f"{path}: no such configuration file; start from the shipped config.yaml")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    return parse_config(raw, source=str(path), check_paths=check_paths)


def _explain(error: Any) -> str:
    where = ".".join(str(p) for p in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = _fields_at(error["loc"][:-1])
        return f"  {where}: unknown key{near_miss(str(error['loc'][-1]), known)}"
    if error["type"] == "literal_error":
        choices = [c.strip("' ") for c in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        return f"  {where}: found {error['input']!r}{near_miss(str(error['input']), choices)}"
    if error["type"] == "value_error" and not where:
        return "\n".join(f"  {line}" for line in message.splitlines())
    found = "" if error["type"] == "missing" else f"found {error['input']!r}: "
    return f"  {where}: {found}{message[:1].lower()}{message[1:]}"


def _fields_at(location: tuple) -> list[str]:
    """Keys allowed at a place of the tree, for suggestions."""
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
    """The section inside an annotation such as ``Synthetic | None``."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def dump_config(config: Config) -> str:
    """The complete configuration as YAML, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
