"""What counts as missing, and numbers as people write them: one rule for training and predicting.

Missing are the empty cell, ``n/a`` and its kin (`MISSING`), what the data set declares as
``missing_values``, and infinite numbers. A code of missing values that nobody declared (-9999, -3,
999) is found by lying far from all other values, and refused: as a number it would be believed.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainmass_core.readers.files import FileError

log = logging.getLogger(__name__)
MISSING = (
    *("", "n/a", "N/A", "N/a", "NA", "NaN", "NAN", "Nan", "nan", "null", "NULL", "Null"),
    *("#N/A", "<NA>"),  # Excel, R and pandas
)
NO_NAMES = ("na", "n.a.", "n.a", "n/a.", "nil", "missing")  # in lower case, beside `.`, `-`, `?`
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
# 1,234: one and a bit, or one thousand two hundred and thirty-four
EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
GROUPED = re.compile(r"[+-]?\d{1,3}([., '\u2019\u00a0\u202f])\d{3}(\1\d{3})*([.,]\d+)?", re.ASCII)
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
MINUS = str.maketrans({"\u2212": "-"})
# what surveys and scanners' spreadsheets write for missing
CODES = frozenset(
    [float(sign * int(digit * n)) for sign in (-1, 1) for digit in "789" for n in range(2, 8)]
    + [float(v) for v in (997, 998, 9997, 9998, -997, -998, -9997, -9998, -121, -818, -666, 666)]
)
ENOUGH = 3  # distinct other values, to know what lies far from them
LONG = 666  # from here on a code is no number of a site among words
FAR = 10  # times the spread of the others, of a repeated number that is no known code
MAX_AGE = 120.0  # years

Code = int | float | str


@dataclass(frozen=True)
class Kind:
    """What a column of numbers can hold.

    Attributes
    ----------
    name : str
        For messages.
    low, high : float
        Limits; what lies outside is a mistake.
    hint : str
        What several values outside may be.
    """

    name: str
    low: float = -math.inf
    high: float = math.inf
    hint: str = ""


AGE = Kind("an age in years", 0.0, MAX_AGE, " (is it in months, or a date?)")
POSITIVE = Kind("a number from 0", 0.0)
ANY = Kind("a number")


def mask_missing(table: pd.DataFrame, codes: Iterable[Code] = (), but: Sequence[str] = ()) -> None:
    """Set what is missing to None, in place.

    Parameters
    ----------
    codes : iterable of int, float or str
        The data set's ``missing_values``; a number also as it is otherwise written (``-9999.0``).
    but : sequence of str
        Columns of ids, in which a code may be a name.
    """
    declared = {_key(c) for c in codes}
    for column in table.columns:
        cells = table[column]
        gone = cells.isin(MISSING)
        if declared and column not in but:
            gone |= cells.map(_key).isin(declared)
        table[column] = cells.mask(gone, None)


def is_missing(text: str, codes: Iterable[Code] = ()) -> bool:
    """Whether a cell counts as missing."""
    return text in MISSING or _key(text) in {_key(c) for c in codes}


def _key(value: Code | None) -> float | str | None:
    """A number as such, however it is written; other text as it is."""
    if value is None:
        return None
    text = str(value).strip().translate(MINUS)
    return float(text) if NUMBER.fullmatch(text) else text


def numbers(column: pd.Series, where: str) -> tuple[pd.Series, pd.Series]:
    """A column of text as numbers.

    Parameters
    ----------
    column : Series of str
        None where missing.
    where : str
        File and column, for messages.

    Returns
    -------
    values : Series of float64
        NaN where missing, infinite (which is said) or no number.
    others : Series of str
        What is no number, such as ``89+``.

    Raises
    ------
    FileError
        If separators of thousands or of decimals are ambiguous or mixed.
    """
    text = column.dropna().map(lambda v: str(v).strip().translate(MINUS))
    _check_separators(text, where)
    text = text.map(lambda t: t.replace(",", ".") if COMMA.fullmatch(t) else t)
    plain = text.map(lambda t: bool(NUMBER.fullmatch(t) or INFINITE.fullmatch(t))).astype(bool)
    found = pd.to_numeric(text[plain], errors="coerce").astype("float64")
    infinite = np.isinf(found)
    if infinite.any():
        log.warning("%s: %d infinite values count as missing", where, int(infinite.sum()))
    values = found.where(~infinite).reindex(column.index)
    return values.astype("float64"), column[text.index[~plain.to_numpy()]]


def _check_separators(text: pd.Series, where: str) -> None:
    decimal_comma = text[text.map(lambda t: bool(COMMA.fullmatch(t))).astype(bool)]
    grouped = text[text.map(_is_grouped).astype(bool)]
    if len(grouped):
        raise FileError(
            f"{where}: found {_some(grouped)}, with separators of thousands; write numbers without"
        )
    if decimal_comma.empty:
        return
    points = text[text.map(lambda t: bool(NUMBER.fullmatch(t)) and "." in t).astype(bool)]
    if len(points):
        raise FileError(
            f"{where}: found {_some(decimal_comma)} and {_some(points)}: a comma and a point for "
            "decimals in one column; write all with a point"
        )
    either = decimal_comma[decimal_comma.map(lambda t: bool(EITHER.fullmatch(t))).astype(bool)]
    if len(either) == len(decimal_comma):
        raise FileError(
            f"{where}: found {_some(either)}: the comma may separate decimals or thousands; write "
            "numbers with a point and without separators of thousands"
        )


def _is_grouped(text: str) -> bool:
    """``1,234,567``, ``1.234,5``, ``1 234``; not ``1.234`` and ``1,234``, which may be decimals."""
    match = GROUPED.fullmatch(text)
    if match is None:
        return False
    return match[1] not in ".," or match[2] is not None or match[3] is not None


def _some(values: pd.Series) -> str:
    return ", ".join(repr(v) for v in dict.fromkeys(values.head(3)))


def checked_numbers(
    column: pd.Series, where: str, kind: Kind = ANY, valid: Iterable[float] = ()
) -> pd.Series:
    """Numbers of a declared column; a mistake here or there is missing, and said.

    Parameters
    ----------
    column : Series of str
        None where missing.
    valid : iterable of float
        The data set's ``valid_values``: numbers that look like codes but are measured.

    Returns
    -------
    Series of float64

    Raises
    ------
    FileError
        If more than half of the values are no numbers, if two or more lie outside of what the
        column can hold, or if undeclared codes of missing values are among them.
    """
    values, others = numbers(column, where)
    if len(others) > values.notna().sum():
        raise FileError(
            f"{where}: {len(others)} of {column.notna().sum()} values are no numbers, such as "
            f"{_some(others)}; expected {kind.name}; name another column, or correct the table"
        )
    refuse_codes(values, where, valid)
    outside = values.notna() & ~values.between(kind.low, kind.high)
    if outside.sum() > 1:
        remedy = "correct the table, or name another column"
        known = values[outside].isin(CODES).all()
        if known or outside.sum() <= values.notna().sum() / 2:
            codes = sorted({_plain(v) for v in values[outside]})[:10]
            remedy = f"correct the table, or, if they mean missing, set missing_values: {codes}"
        raise FileError(
            f"{where}: {_counted(values[outside])} cannot be {kind.name}{kind.hint}; {remedy}"
        )
    lost = pd.concat([others, column[outside]])
    if len(lost):
        log.warning(
            "%s: %d values are not %s and count as missing: %s",
            *(where, len(lost), kind.name, ", ".join(sorted(set(lost))[:10])),
        )
    return values.where(~outside)


def refuse_codes(values: pd.Series, where: str, valid: Iterable[float] = ()) -> None:
    """Refuse a column in which codes of missing values stand that nobody has declared.

    Raises
    ------
    FileError
        With the codes, their counts and the remedy.
    """
    found = undeclared_codes(values, valid)
    if found:
        texts = ", ".join(f"{_plain(v)} ({times(n)})" for v, n in sorted(found.items()))
        raise FileError(
            f"{where}: found {texts}, far from all other values, as codes of missing values are. "
            f"Declare them for the data set, missing_values: {[_plain(v) for v in sorted(found)]}, "
            f"or, if they are measured, valid_values: {[_plain(v) for v in sorted(found)]}"
        )


def refuse_codes_among_names(
    names: pd.Series, where: str, valid: Iterable[float] = (), positive: bool = False
) -> None:
    """Refuse sites, sexes, groups and the like of which one means missing: -9999, ``.``, ``n.a.``.

    A site may be called 99: positive codes are told where they occur twice and lie far from all
    other numbers, or, of three digits and more, stand among words.

    Parameters
    ----------
    positive : bool
        Whether 99, 999 and the like are codes wherever they stand, as among sexes.

    Raises
    ------
    FileError
        With the codes, their counts and the remedy.
    """
    keys = Counter(names.map(_key, na_action="ignore").dropna())
    codes = {c for c in CODES - set(valid) if c < 0 or positive or _far_from(keys, c)}
    counts = Counter({k: n for k, n in keys.items() if _no_name(k, codes)})
    if counts:
        found = sorted(counts, key=str)
        shown = [c if isinstance(c, str) else _plain(c) for c in found]
        texts = ", ".join(f"{v} ({times(counts[c])})" for c, v in zip(found, shown, strict=True))
        numbers_only = not any(isinstance(c, str) for c in found)
        raise FileError(
            f"{where}: found {texts}, which is a code of missing values; declare it for the data "
            f"set, missing_values: {shown}, or, if it is a name, "
            + (f"valid_values: {shown}" if numbers_only else "write it as letters")
        )


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
        return key.lower() in NO_NAMES or not any(c.isalnum() for c in key)
    return key in codes


def undeclared_codes(values: pd.Series, valid: Iterable[float] = ()) -> dict[float, int]:
    """Values that are codes of missing ones by their looks, with how often they occur.

    One of `CODES` is taken for a code if it lies further from all other values than these spread,
    another number that occurs twice (a positive one only if whole) if it lies ten times as far. Up
    to three different negative whole numbers that occur twice (-3, -1) are codes if no other value
    is negative. Beside fewer than three different other values only negative `CODES` that
    occur twice are told. Zero never is a code: scales pile up there.
    """
    counts = Counter(v for v in values.dropna().tolist() if v not in set(valid))
    suspects = {v for v in counts if v in CODES or (v < 0 and counts[v] > 1)}
    # a code may hide another, so that what lies far is looked for among the unsuspected
    others = sorted(v for v in values.dropna().unique() if v not in suspects)
    if len(others) < ENOUGH:
        told = {v for v in suspects & CODES if v < 0 and counts[v] > 1}
        return {v: counts[v] for v in told if not others or others[0] >= 0}
    low, high = others[0], others[-1]
    n_negative = sum(v < 0 for v in counts)
    found = {}
    for v in suspects:
        away = max(low - v, v - high)
        alone = v == int(v) and v < 0 <= low and counts[v] > 1 and n_negative <= 3
        if alone or away > (high - low) * (1 if v in CODES else FAR):
            found[v] = counts[v]
    below = others[:-1]
    twice = high == int(high) and counts[high] > 1
    if twice and len(below) >= ENOUGH and high - below[-1] > FAR * (below[-1] - below[0]):
        found[high] = counts[high]
    return found


def times(n: int) -> str:
    """How often, for messages."""
    return "once" if n == 1 else f"{n} times"


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _counted(values: pd.Series) -> str:
    counts = Counter(values.tolist()).most_common()
    more = f" and {len(counts) - 10} more" if len(counts) > 10 else ""
    return ", ".join(f"{_plain(v)} ({times(n)})" for v, n in counts[:10]) + more
