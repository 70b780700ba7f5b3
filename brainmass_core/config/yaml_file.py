"""Read a YAML or JSON file whose values mean what they look like."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import yaml

LARGEST = 100_000  # entries; a configuration with a hundred data sets has a few thousand
LARGEST_FILE = 2**24  # bytes; parsing takes a thousand times as much memory
LONGEST_NUMBER = 4000  # digits
DECIMAL = re.compile(r"[+-]?(0|[1-9][0-9]*)", re.ASCII)
TOO_DEEP = "sections are nested too deep; look for brackets or braces that are not closed"


class ConfigError(ValueError):
    """A configuration that cannot be used; the message lists every error at once."""


def read_yaml(path: Path) -> Any:
    """Read a YAML file in which no key occurs twice.

    Raises
    ------
    ConfigError
        If the file is missing, unreadable, not YAML, or has a duplicate key in a mapping: YAML
        readers silently keep only the last one.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such configuration file; start from the shipped config.yaml")
    if not path.is_file():  # a pipe would block forever, a device has no end
        raise ConfigError(f"{path}: not a regular file, expected a configuration; correct the path")
    if path.stat().st_size > LARGEST_FILE:
        raise ConfigError(
            f"{path}: has {path.stat().st_size:,} bytes, expected at most {LARGEST_FILE:,}; check "
            "that it is the right file"
        )
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":  # JSON may be indented with tabs, which YAML refuses
            return json.loads(text, object_pairs_hook=_unique, parse_int=_whole)
        found = yaml.load(text, Loader=_AsWritten)
        n_entries = _expanded(found, {})
    except (yaml.YAMLError, ValueError, AttributeError, TypeError, LookupError) as error:
        # PyYAML passes on Python's errors for invalid dates and numbers
        raise ConfigError(f"{path}: not valid {_form(path)}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: {TOO_DEEP}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if n_entries > LARGEST:
        raise ConfigError(
            f"{path}: {n_entries:,} entries after expanding its aliases (*), expected at most "
            f"{LARGEST:,}; write the values without aliases"
        )
    return found


def _whole(text: str) -> float:
    """A whole number; infinite, which no setting is, where Python reads no more digits."""
    return int(text) if len(text) <= LONGEST_NUMBER else math.inf


def _form(path: Path) -> str:
    return "JSON" if path.suffix == ".json" else "YAML"


def _unique(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} occurs twice; remove or rename one")
    return found


def _expanded(node: Any, known: dict[int, int]) -> int:
    """Number of entries of a tree with shared parts: nested aliases can grow exponentially."""
    if not isinstance(node, dict | list):
        return 1
    if id(node) not in known:
        parts = node.values() if isinstance(node, dict) else node
        known[id(node)] = 1 + sum(_expanded(part, known) for part in parts)
    return known[id(node)]


class _AsWritten(yaml.SafeLoader):
    """YAML loader that refuses values which YAML reads differently from how they look.

    Duplicate keys are searched for before merge keys (``<<``) add others to a mapping.
    """

    def construct_yaml_int(self, node: Any) -> Any:
        """An integer. YAML reads ``010`` as 8, ``12:30`` as 750 and ``1_000`` as 1000."""
        if not DECIMAL.fullmatch(node.value):
            raise _ambiguous(node, super().construct_yaml_int(node))
        return _whole(node.value)

    def construct_yaml_float(self, node: Any) -> float:
        """A decimal number; YAML reads ``1:30.5`` as 90.5."""
        number = super().construct_yaml_float(node)
        if set(":_") & set(node.value):
            raise _ambiguous(node, number)
        return number

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            # `true` and `yes` are the same key, and so are 1 and "1"
            same = {key.value, str(self.construct_object(key, deep=True))}
            if same & seen:
                problem = f"the key {key.value!r} occurs twice; remove or rename one"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen |= same
        return node


for _name in ("int", "float"):
    _method = getattr(_AsWritten, f"construct_yaml_{_name}")
    _AsWritten.add_constructor(f"tag:yaml.org,2002:{_name}", _method)


def _ambiguous(node: Any, number: float) -> yaml.constructor.ConstructorError:
    problem = (
        f"found {node.value}, which YAML reads as {number}; write a plain decimal number, or put "
        "it in quotes if it is text"
    )
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
