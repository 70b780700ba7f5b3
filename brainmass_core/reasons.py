"""Count the reasons for lost scans; reasons that differ only in names and numbers are grouped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

MAX_REASONS = 5  # per loss; the others are counted together
MAX_NAMES = 3
_VARIES = re.compile(r"(…|(?:/|\b[A-Za-z]:\\)[^\s:;,]*|\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


@dataclass(frozen=True)
class Reason:
    """A reason why scans were lost, with its number of scans.

    Attributes
    ----------
    text : str
        As recorded; in a group, ``…`` replaces the names, numbers and paths that differ.
    names : tuple of str
        Names of the first scans, if known.
    """

    text: str
    n: int
    names: tuple[str, ...] = ()

    def line(self) -> str:
        """``14 scans: why (s01, s02, s03 and 11 more)``."""
        more = f" and {self.n - len(self.names)} more" if self.n > len(self.names) else ""
        named = f" ({', '.join(self.names)}{more})" if self.names else ""
        return f"{self.n} scan{'' if self.n == 1 else 's'}: {self.text}{named}"


def reasons_of(
    texts: Iterable[Any], limit: int = MAX_REASONS, names: Iterable[str] | None = None
) -> list[Reason]:
    """Reasons with their number of scans; those that differ only in numbers and paths are grouped.

    Parameters
    ----------
    names : iterable of str, optional
        Name of the scan of each text. Reasons that differ only in it are grouped, too.

    Returns
    -------
    list of Reason
        The most frequent first; those beyond `limit` are counted together in a last entry.
    """
    found = pd.Series(list(texts), dtype=object).fillna("no reason is recorded").astype(str)
    who = pd.Series(list(names) if names is not None else [""] * len(found), dtype=object)
    nameless = pd.Series(
        [t.replace(n, "…") if n else t for t, n in zip(found, who, strict=True)], dtype=object
    )
    counted = [
        Reason(
            str(group.iloc[0]) if group.nunique() == 1 else _common(nameless[group.index]),
            len(group),
            tuple(who[group.index[:MAX_NAMES]]) if names is not None else (),
        )
        for _, group in found.groupby(nameless.str.replace(_VARIES, "…", regex=True))
    ]
    counted.sort(key=lambda r: (-r.n, r.text))
    rest = counted[limit:]
    if rest:
        more = Reason(f"{len(rest)} other reasons", sum(r.n for r in rest))
        return [*counted[:limit], more]
    return counted


def _common(texts: Iterable[str]) -> str:
    """Merge texts that differ only in names, numbers and paths, with ``…`` where they differ."""
    parts = zip(*(_VARIES.split(text) for text in texts), strict=True)
    return "".join(part[0] if len(set(part)) == 1 else "…" for part in parts)
