"""The bridges that this package ships: which spaces they join, and what their files hold.

Hashes and the DAG ask it for every configuration, so it needs nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from brainmass_core.spaces.names import FSL

DATA = Path(str(files("brainmass_core") / "data"))
ABOUT = "bridges.json"  # what is known of the shipped fields: spaces, checksums, accuracy


def about_shipped() -> dict[str, Any]:
    """What is known of the shipped fields, as `benchmarks/bridges.py` wrote it."""
    return json.loads((DATA / ABOUT).read_text(encoding="utf-8"))


def shipped_spaces() -> list[str]:
    """Spaces between all of which the package ships bridges."""
    return list(about_shipped()["spaces"])


def field_name(source: str, target: str) -> str:
    """File of a shipped field."""
    return f"bridge_from-{source}_to-{target}_mode-points_xfm.npz.gz"


def legs(source: str, target: str) -> list[tuple[str, str]]:
    """The shipped fields that lead from one shipped space to another: one, or two over the hub."""
    return [(source, target)] if FSL in (source, target) else [(source, FSL), (FSL, target)]


def shipped_digest(source: str | None = None, target: str | None = None) -> str:
    """Hash of the content of the shipped bridges between two spaces, there and back.

    The checksums that `bridges.json` gives stand for the files, which are compared with them
    whenever they are read.

    Parameters
    ----------
    source, target : str, optional
        TemplateFlow names. Where one is not known, all shipped bridges count.

    Returns
    -------
    str
        16 hexadecimal digits; empty within one space, and where no bridge is shipped.
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
