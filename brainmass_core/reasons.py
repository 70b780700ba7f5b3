"""Why scans were lost, counted: many scans fall out for one cause, told with other numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

MAX_REASONS = 5  # of a loss; the others are counted together
MAX_NAMES = 3
_VARIES = re.compile(r"(…|(?:/|\b[A-Za-z]:\\)[^\s:;,]*|\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


@dataclass(frozen=True)
class Reason:
    """Why scans were lost.

    Attributes
    ----------
    text : str
        As recorded; where many are alike, with ``…`` for the names, numbers and paths in which
        they differ.
    names : tuple of str
        Of the first scans, where names are known.
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
    """Reasons and how many scans each has; those that differ in numbers and paths count as one.

    Parameters
    ----------
    names : iterable of str, optional
        The scan of each text. Reasons that differ in it count as one, too.

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
    """Texts that differ in names, numbers and paths alone, as one with ``…`` where they differ."""
    parts = zip(*(_VARIES.split(text) for text in texts), strict=True)
    return "".join(part[0] if len(set(part)) == 1 else "…" for part in parts)
