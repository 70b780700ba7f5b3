"""Names of scans: what none can be called, and two files that give one scan.

One odd name costs one scan: it stays in the scans table, excluded, under a name that can be
written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from brainmass_core.pipeline.hashing import stable_hash

LONGEST = 150  # characters
LONGEST_BYTES = 200  # in UTF-8; a file system has 255, and suffixes follow
# control characters, and bytes of a name that are not UTF-8, as Python reads them
HIDDEN = re.compile(r"[\x00-\x1f\ud800-\udfff]")
ODD = re.compile(r"[/\\\x00-\x1f\ud800-\udfff]")
PADDED = re.compile(r"(?<=_run-)0+(?=\d)")  # zeros that are no part of an index of BIDS


def shown(path: Path | str) -> str:
    """A path as text that can be written: what is hidden as its bytes, ``%0A`` for a line break."""
    return HIDDEN.sub(_escaped, str(path))


def written(name: str) -> str:
    """A name as that of a scan: the same, but for what it cannot hold, and shortened."""
    name = ODD.sub(_escaped, name)
    if not name:
        return "%"
    if len(name) <= LONGEST and len(name.encode()) <= LONGEST_BYTES:
        return name
    start = name.encode()[:100].decode(errors="ignore")
    return f"{start}...{stable_hash(name):016x}"


def odd_name(path: Path, name: str) -> str | None:
    """Why a file or array cannot be a scan of this name; None if it can."""
    found = sorted({*ODD.findall(name), *HIDDEN.findall(str(path))})
    if found:
        what = f"its name or folder contains {', '.join(map(repr, found))}"
    elif not name:
        what = "it has no name"
    elif written(name) != name:
        what = f"its name has {len(name)} characters ({len(name.encode())} bytes)"
    else:
        return None
    return (
        f"{shown(path)}: {what}; expected UTF-8 without slash, backslash and control characters, "
        f"at most {LONGEST} characters and {LONGEST_BYTES} bytes; rename it"
    )


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"%{b:02X}" for b in found[0].encode("utf-8", "surrogateescape"))


def one_row_each(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows, of which those with one scan id become one that is excluded: they may differ.

    Scans whose ids differ only in zeros before the index of the run (``run-1``, ``run-01``) are
    the same run in BIDS. All of them are excluded if more than one is usable.

    Parameters
    ----------
    rows : iterable of mapping
        Columns of `tables.SCANS`.

    Returns
    -------
    list of dict
        In their order, that of the first where several have one id.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["scan_id"], []).append(row)
    single = [dict(same[0]) if len(same) == 1 else _ambiguous(same) for same in found.values()]
    runs: dict[str, list[dict[str, Any]]] = {}
    for row in single:
        if not row.get("excluded_reason"):
            runs.setdefault(PADDED.sub("", row["scan_id"]), []).append(row)
    for same in runs.values():
        if len(same) > 1:
            reason = _one_index(same)
            for row in same:
                row["excluded_reason"] = reason
    return single


def _one_index(rows: list[dict[str, Any]]) -> str:
    files = sorted(row["bold_path"] for row in rows)
    return (
        f"{' and '.join(files)}: {len(files)} files give one run, expected one, because BIDS "
        "counts runs and zeros before a number do not count; remove the others, or give each run "
        "a number of its own"
    )


def _ambiguous(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    files = [r["bold_path"] + (f" [{r['bold_key']}]" if r.get("bold_key") else "") for r in rows]
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    reason = (
        f"{' and '.join(files[:5])}{more}: {len(files)} files give one scan, expected one, because "
        "they may differ; remove or rename the others"
    )
    return {**rows[0], "excluded_reason": reason}
