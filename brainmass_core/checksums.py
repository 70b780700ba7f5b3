"""Checksums of files that are written and read back, so that damage is detected."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FIELD = "checksum"  # key in a record for the sha256 of all its other entries


class ChecksumError(ValueError):
    """A file or record differs from what was written."""


def sha256_of(path: Path) -> str:
    """Checksum of a file's bytes.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, expected: str | None) -> None:
    """Compare a file with the checksum that was stored when it was written.

    Raises
    ------
    ChecksumError
        If it differs, is missing, or cannot be read.
    """
    if not path.is_file():  # opening a pipe would block forever
        raise ChecksumError(f"{path}: found no file, expected one with sha256 {expected}")
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ChecksumError(f"{path}: cannot be read ({error.strerror or error})") from None
    if found != expected:
        raise ChecksumError(
            f"{path}: found sha256 {found}, expected {expected}: the file is damaged or was changed"
        )


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its own checksum in `FIELD`."""
    content = {k: v for k, v in record.items() if k != FIELD}
    return content | {FIELD: _digest(content)}


def check_seal(record: Mapping[str, Any], where: Path) -> None:
    """Verify an object that was read with the checksum in it.

    Raises
    ------
    ChecksumError
        If it is missing or does not match.
    """
    if not isinstance(record, Mapping):
        raise ChecksumError(f"{where}: found {type(record).__name__}, expected an object")
    if FIELD not in record:
        raise ChecksumError(f"{where}: found no {FIELD!r}, so damage could not be detected")
    found = _digest({k: v for k, v in record.items() if k != FIELD})
    if found != record[FIELD]:
        raise ChecksumError(
            f"{where}: its content has the checksum {found}, expected {record[FIELD]}: the file is "
            "damaged or was changed"
        )


def _digest(content: Mapping[str, Any]) -> str:
    """Checksum that does not depend on the order of keys or the layout of the text."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
