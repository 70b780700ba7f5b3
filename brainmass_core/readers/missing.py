"""Read missing values and numbers in tables: one rule for training and prediction.

Missing are the empty cell, ``n/a`` and similar words (`MISSING`), the ``missing_values`` of the
data set, and infinite numbers. An undeclared code of missing values (-9999, -3, 999) is recognised
by its distance from all other values and refused, because it would be used as a number.
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
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
# 1,234: about one, or more than one thousand
EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
GROUPED = re.compile(r"[+-]?\d{1,3}([., '\u2019\u00a0\u202f])\d{3}(\1\d{3})*([.,]\d+)?", re.ASCII)
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
MINUS = str.maketrans({"\u2212": "-"})
# codes of missing values in surveys and spreadsheets of scanners
CODES = frozenset(
    [float(sign * int(digit * n)) for sign in (-1, 1) for digit in "789" for n in range(2, 8)]
    + [float(v) for v in (997, 998, 9997, 9998, -997, -998, -9997, -9998, -121, -818, -666, 666)]
)
ENOUGH = 3  # distinct other values, to know which values are far from them
FAR = 10  # times the range of the others, for a repeated number that is not a known code
MAX_AGE = 120.0  # years

Code = int | float | str


@dataclass(frozen=True)
class Kind:
    """Possible values of a column of numbers.

    Attributes
    ----------
    name : str
        For messages.
    low, high : float
        Limits; values outside are mistakes.
    hint : str
        Possible cause of several values outside.
    after_zero : float
        Repeated zeros count as missing if all other values are larger than this.
    """

    name: str
    low: float = -math.inf
    high: float = math.inf
    hint: str = ""
    after_zero: float = math.inf


AGE = Kind("an age in years", 0.0, MAX_AGE, " (is it in months, or a date?)", after_zero=5.0)
POSITIVE = Kind("a number from 0", 0.0)
MOTION = Kind("a displacement in mm", 0.0, after_zero=0.0)  # nobody is that still
ANY = Kind("a number")


def mask_missing(table: pd.DataFrame, codes: Iterable[Code] = (), but: Sequence[str] = ()) -> None:
    """Set missing values to None, in place.

    Parameters
    ----------
    codes : iterable of int, float or str
        The data set's ``missing_values``; a number also covers its other spellings (``-9999.0``).
    but : sequence of str
        Columns of ids, in which a code may be an id.
    """
    declared = {key_of(c) for c in codes}
    for column in table.columns:
        cells = table[column]
        gone = cells.isin(MISSING)
        if declared and column not in but:
            gone |= cells.map(key_of).isin(declared)
        table[column] = cells.mask(gone, None)


def is_missing(text: str, codes: Iterable[Code] = ()) -> bool:
    """Whether a cell counts as missing."""
    return text in MISSING or key_of(text) in {key_of(c) for c in codes}


def key_of(value: Code | None) -> float | str | None:
    """The number if the text is one; other text as it is."""
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
        NaN where missing, infinite (which is logged) or not a number.
    others : Series of str
        Other text, such as ``89+``.

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
    """Numbers of a declared column; a single mistake counts as missing, which is logged.

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
        If more than half of the values are not numbers, if two or more are outside of the limits,
        or if undeclared codes of missing values are among them.
    """
    values, others = numbers(column, where)
    if len(others) > values.notna().sum():
        raise FileError(
            f"{where}: {len(others)} of {column.notna().sum()} values are not numbers, such as "
            f"{_some(others)}; expected {kind.name}; name another column, or correct the table"
        )
    refuse_codes(values, where, valid)
    _refuse_zeros(values, where, kind, valid)
    outside = values.notna() & ~values.between(kind.low, kind.high)
    if outside.sum() > 1:
        remedy = "correct the table, or name another column"
        known = values[outside].isin(CODES).all()
        if known or outside.sum() <= values.notna().sum() / 2:
            codes = sorted({plain_number(v) for v in values[outside]})[:10]
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


def _refuse_zeros(values: pd.Series, where: str, kind: Kind, valid: Iterable[float]) -> None:
    zero = values == 0
    others = values[values.notna() & ~zero]
    if zero.sum() > 1 and len(others) and others.min() > kind.after_zero and 0 not in set(valid):
        raise FileError(
            f"{where}: found 0 ({times(int(zero.sum()))}), all others from {others.min():g} on; "
            f"expected {kind.name}; if 0 means missing, declare it, missing_values: [0], or, if "
            "it is measured, valid_values: [0]"
        )


def refuse_codes(values: pd.Series, where: str, valid: Iterable[float] = ()) -> None:
    """Refuse a column with undeclared codes of missing values.

    Raises
    ------
    FileError
        With the codes, their counts and the remedy.
    """
    found = undeclared_codes(values, valid)
    if found:
        texts = ", ".join(f"{plain_number(v)} ({times(n)})" for v, n in sorted(found.items()))
        shown = [plain_number(v) for v in sorted(found)]
        raise FileError(
            f"{where}: found {texts}, far from all other values, as codes of missing values are. "
            f"Declare them for the data set, missing_values: {shown}, or, if they are measured, "
            f"valid_values: {shown}"
        )


def undeclared_codes(values: pd.Series, valid: Iterable[float] = ()) -> dict[float, int]:
    """Values that are codes of missing ones by their looks, with how often they occur.

    One of `CODES` counts as a code if its distance from all other values exceeds their range,
    and so is 99.9, 999.99 or 88.8 if it occurs twice. Another number that occurs twice (a positive
    one only if whole) is taken for one if it lies ten times as far. Up to three different negative
    whole numbers that occur twice (-3, -1) are codes if no other value is negative. Among fewer
    than three different other values, only negative `CODES` that occur twice are found. Zero never
    is a code here: scales pile up there.
    """
    counts = Counter(v for v in values.dropna().tolist() if v not in set(valid))
    like_codes = {v for v in counts if v in CODES or (v > 0 and counts[v] > 1 and one_digit(v))}
    suspects = like_codes | {v for v in counts if v < 0 and counts[v] > 1}
    # a code may hide another, so distances are computed to values that are not suspected
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
        if alone or away > (high - low) * (1 if v in like_codes else FAR):
            found[v] = counts[v]
    below = others[:-1]
    twice = high == int(high) and counts[high] > 1
    if twice and len(below) >= ENOUGH and high - below[-1] > FAR * (below[-1] - below[0]):
        found[high] = counts[high]
    return found


def one_digit(value: float) -> bool:
    """Whether a number is written with three and more 7, 8 or 9 alone: 99.9, 999.99."""
    digits = f"{abs(value):.10g}".replace(".", "")
    return len(digits) > 2 and digits in (d * len(digits) for d in "789")


def times(n: int) -> str:
    """How often, for messages."""
    return "once" if n == 1 else f"{n} times"


def plain_number(value: float) -> int | float:
    """A number as people write it, for messages."""
    return int(value) if value == int(value) else value


def _counted(values: pd.Series) -> str:
    counts = Counter(values.tolist()).most_common()
    more = f" and {len(counts) - 10} more" if len(counts) > 10 else ""
    return ", ".join(f"{plain_number(v)} ({times(n)})" for v, n in counts[:10]) + more
