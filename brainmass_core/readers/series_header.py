"""Whether the first row of a text file of series is a header, and which columns are no regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NAMELESS = ("", "unnamed: 0")
COUNTING = (*NAMELESS, "index", "time", "timepoint", "frame", "volume", "vol", "tr", "t")
AFNI = ("file", "sub-brick")  # what 3dROIstats writes before the regions
MISSING = ("n/a", "na", "null")
FEW = 4  # columns: fewer numbers may ascend by chance
MANY = 8


def is_number(text: str) -> bool:
    """Whether a field of a data row is a number or missing."""
    try:
        float(text)
    except ValueError:
        return text.lower() in MISSING
    return True


def is_header(first: Sequence[str], body: Sequence[Sequence[str]]) -> bool | None:
    """Whether the first row of a file is a header: names, or numbers of columns or regions.

    A row that mixes text with other numbers is data with a mistake in it, which must not be
    dropped as if it were a header.

    Parameters
    ----------
    first : sequence of str
        Fields of the first row.
    body : sequence of sequences of str
        Fields of some rows below it.

    Returns
    -------
    bool or None
        None if both are possible.
    """
    numbers = [f for f in first if is_number(f)]
    if not numbers:
        return True
    if first[0].lower() in COUNTING and len(numbers) == len(first) - 1:
        return True
    if len(first) - len(numbers) > 1:
        return False
    judged = _counts(numbers, body)
    return judged if len(numbers) == len(first) else bool(judged)


def _counts(row: Sequence[str], body: Sequence[Sequence[str]]) -> bool | None:
    """Whether numbers are those of columns: whole and ascending over others that are not."""
    if len(row) < 3 or any(f.lower() in MISSING for f in row):
        return False
    if row[0] in ("0", "1") and list(row) == [str(int(row[0]) + i) for i in range(len(row))]:
        return True
    values = np.array(row, dtype=np.float64)
    if not np.isfinite(values).all():
        return False
    steps = np.diff(values)
    even = bool(steps[0]) and bool(np.allclose(steps, steps[0], rtol=1e-6, atol=0))
    one_way = bool((steps > 0).all() or (steps < 0).all())
    if (values == np.rint(values)).all():
        fractions = _has_fractions(body)
        if even or (one_way and len(row) >= FEW):
            return True if fractions else None
        if len(row) >= FEW and fractions and len(set(values.tolist())) == len(row):
            return None
        return False
    if (even and len(row) >= FEW) or (one_way and len(row) >= MANY):
        return None
    return False


def is_second_header(first: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Whether a row below a header is one too: whole numbers that count, over decimals."""
    numeric = all(is_number(f) for f in first)
    return numeric and _has_fractions(body) and is_header(first, body) is True


def _has_fractions(body: Sequence[Sequence[str]]) -> bool:
    """Whether most rows below contain numbers that are not integers."""
    rows = [[float(f) for f in row if _is_finite(f)] for row in body]
    broken = [any(not v.is_integer() for v in row) for row in rows if row]
    return sum(broken) * 2 > len(broken)


def _is_finite(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def columns_of_afni(names: Sequence[str]) -> list[int]:
    """Columns ``File`` and ``Sub-brick`` of AFNI's 3dROIstats, which the ADHD-200 files have."""
    return [i for i, name in enumerate(names) if name.lower() in AFNI]


def counts_rows(name: str, column: np.ndarray) -> bool:
    """Whether the first column is the number of the row, 0, 1, 2, ..., or its time."""
    if name.lower() not in COUNTING or len(column) < 2 or not np.isfinite(column).all():
        return False
    steps = np.diff(column)
    if name.lower() in NAMELESS:
        return column[0] in (0, 1) and bool((steps == 1).all())
    return bool(steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-3))
