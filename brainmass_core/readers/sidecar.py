"""JSON objects: BIDS sidecars, dataset descriptions, configurations of models."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from brainmass_core.readers.files import FileError, read_bytes
from brainmass_core.readers.limits import JSON, Limits, quoted

DIGITS = 300  # of a whole number; one with more exceeds every other number


class JsonError(FileError):
    """A file without a JSON object."""


def read_object(path: Path, limits: Limits = JSON) -> dict[str, Any]:
    """The object of a JSON file.

    A number too large to calculate with becomes infinite, as 1e400 does.

    Raises
    ------
    JsonError
        If it is not JSON, not an object, nested too deeply, or repeats a key with other values.
    FileError
        If it is no regular file, damaged, or too large.
    """
    content = read_bytes(path, limits)
    try:
        text = content.decode("utf-8-sig")
        found = json.loads(text, parse_int=_whole_number, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise JsonError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from None
    except RecursionError:
        raise JsonError(f"{path}: nested too deeply for a JSON file of metadata") from None
    except ValueError as error:
        raise JsonError(f"{path}: not JSON ({error}); correct it or remove the file") from None
    if not isinstance(found, dict):
        raise JsonError(
            f"{path}: found a JSON {type(found).__name__}, expected an object of metadata; correct "
            "it or remove the file"
        )
    return found


def _whole_number(text: str) -> int | float:
    if len(text) <= DIGITS:
        return int(text)
    return -math.inf if text.startswith("-") else math.inf


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise ValueError(f"{quoted(key)} is written twice, with different values")
        found[key] = value
    return found
