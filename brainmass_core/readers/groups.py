"""Check names of groups: codes of missing values among them, two names of one group."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd

from brainmass_core.readers.files import FileError
from brainmass_core.readers.missing import CODES, key_of, plain_number, times

EXCEL = re.compile(
    r"#(DIV/0!|VALUE!|REF!|NAME\?|NUM!|NULL!|SPILL!|CALC!|ERROR!|N/A\b.*)", re.IGNORECASE
)
NO_NAMES = ("na", "n.a.", "n.a", "n/a.", "nil", "missing")  # in lower case; also `.`, `-`, `?`
SEXES = dict.fromkeys(("m", "male", "man", "boy"), "M")
SEXES |= dict.fromkeys(("f", "female", "woman", "girl"), "F")
LONG = 666  # among words, larger codes are not numbers of sites


def refuse_codes_among_names(
    names: pd.Series, where: str, valid: Iterable[float] = (), positive: bool = False
) -> None:
    """Refuse sites, sexes, groups and the like of which one means missing: -9999, ``.``, ``n.a.``.

    A site may be called 99: positive codes are refused if they occur twice and are far from all
    other numbers, or have at least three digits and all other names are words.

    Parameters
    ----------
    positive : bool
        Whether 99, 999 and similar numbers are always codes, as among sexes.

    Raises
    ------
    FileError
        With the codes, their counts and the remedy.
    """
    keys = Counter(names.map(key_of, na_action="ignore").dropna())
    codes = {c for c in CODES - set(valid) if c < 0 or positive or _far_from(keys, c)}
    counts = Counter({k: n for k, n in keys.items() if _no_name(k, codes)})
    if counts:
        found = sorted(counts, key=str)
        shown = [c if isinstance(c, str) else plain_number(c) for c in found]
        texts = ", ".join(f"{v} ({times(counts[c])})" for c, v in zip(found, shown, strict=True))
        numbers_only = not any(isinstance(c, str) for c in found)
        raise FileError(
            f"{where}: found {texts}, which is a code of missing values; declare it for the data "
            f"set, missing_values: {shown}, or, if it is a name, "
            + (f"valid_values: {shown}" if numbers_only else "write it as letters")
        )
    _refuse_spellings(names.dropna(), where, positive)


def _refuse_spellings(names: pd.Series, where: str, of_sex: bool) -> None:
    """Refuse one group under two names: ``NYU`` and ``nyu``; of sexes ``M`` and ``male``."""
    counts = names.map(str).value_counts().sort_index()
    meant = [str(key_of(name)).casefold() for name in counts.index]  # 1, 01 and 1.0 are one, too
    meant = [sex_of(name) if of_sex else name for name in meant]
    for _, same in counts.groupby(meant):
        if len(same) > 1:
            texts = " and ".join(f"{name!r} ({times(int(n))})" for name, n in same.items())
            raise FileError(f"{where}: found {texts}, which are one group; write all in one way")


def sex_of(name: str) -> str:
    """A sex under one name: ``male``, ``Man`` and ``m`` are M, ``1.0`` is 1; others as they are."""
    key = key_of(name)
    return SEXES.get(key.casefold(), key) if isinstance(key, str) else f"{key:g}"


def coded_otherwise(codes: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Sexes of several tables that cannot be compared: M and F here, 1 and 2 there.

    Parameters
    ----------
    codes : mapping of str to iterable of str
        Name of a table to the sexes in it.

    Returns
    -------
    dict
        The tables with theirs, sorted; empty if the sexes of all are among those of one.
    """
    found = {name: sorted(set(map(sex_of, sexes))) for name, sexes in codes.items()}
    most = max(map(set, found.values()), key=len, default=set())
    return {} if all(set(sexes) <= most for sexes in found.values()) else found


def _far_from(keys: Counter[float | str], code: float) -> bool:
    """Whether a positive code is repeated and further from all other numbers than these from 0."""
    if keys[code] < 2:
        return False
    others = [abs(k) for k in keys if not isinstance(k, str) and k not in CODES]
    if others:
        return code - max(others) > max(others)
    return code >= LONG and any(isinstance(k, str) for k in keys)


def _no_name(key: float | str, codes: set[float]) -> bool:
    if isinstance(key, str):
        odd = key.lower() in NO_NAMES or EXCEL.fullmatch(key) is not None
        return odd or not any(c.isalnum() for c in key)
    return key in codes
