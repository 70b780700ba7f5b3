"""Metadata of the bridges that this package ships.

Hashes and the DAG use it for every configuration, so it only needs the standard library.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from brainmass_core.spaces.names import FSL

DATA = Path(str(files("brainmass_core") / "data"))
ABOUT = "bridges.json"  # metadata of the shipped fields: spaces, checksums, accuracy


def about_shipped() -> dict[str, Any]:
    """Metadata of the shipped fields, written by `benchmarks/bridges.py`."""
    return json.loads((DATA / ABOUT).read_text(encoding="utf-8"))


def shipped_spaces() -> list[str]:
    """Spaces that are connected by shipped bridges."""
    return list(about_shipped()["spaces"])


def field_name(source: str, target: str) -> str:
    """File of a shipped field."""
    return f"bridge_from-{source}_to-{target}_mode-points_xfm.npz.gz"


def legs(source: str, target: str) -> list[tuple[str, str]]:
    """The shipped fields from one space to another: one, or two via the hub."""
    return [(source, target)] if FSL in (source, target) else [(source, FSL), (FSL, target)]


def shipped_digest(source: str | None = None, target: str | None = None) -> str:
    """Hash of the content of the shipped bridges between two spaces, in both directions.

    The checksums in `bridges.json` represent the files, which are verified whenever they are read.

    Parameters
    ----------
    source, target : str, optional
        TemplateFlow names. If one is unknown, all shipped bridges are included.

    Returns
    -------
    str
        16 hexadecimal digits; empty within one space, and if no bridge is shipped.
    """
    about = about_shipped()
    names = sorted(about["fields"])
    if source is not None and target is not None:
        if source == target or not {source, target} <= set(about["spaces"]):
            return ""
        used = [*legs(source, target), *legs(target, source)]
        names = sorted(field_name(*leg) for leg in used)
    sums = "".join(f"{name} {about['fields'][name]['sha256']}\n" for name in names)
    return hashlib.sha256(sums.encode()).hexdigest()[:16]
