"""Which row of a phenotype table a scan belongs to: by participant, or participant and session."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from brainmass_core.readers.limits import quoted
from brainmass_core.scans.table import ScansError

MANGLED = re.compile(r"\d[.,]\d+E\+\d+")  # 5.1456E+04, as spreadsheets show long numbers


def canonical(identifier: str) -> str:
    """What is compared when ids are joined.

    Without white space around it and a ``sub-`` prefix; integers without leading zeros and
    without ``.0``: ``sub-0050003``, ``50003`` and ``50003.0`` are the same participant.
    """
    return _number(_bare(identifier, "sub-"))


def session_of(identifier: object) -> str | None:
    """What is compared of sessions: ``ses-01``, ``01`` and ``1`` are one; None if missing."""
    return _number(_bare(identifier, "ses-")) if isinstance(identifier, str) else None


def _bare(identifier: str, prefix: str) -> str:
    text = identifier.strip()
    return text[len(prefix) :] if text.lower().startswith(prefix) else text


def padded(identifier: str) -> str:
    """An id without ``sub-`` and, if it is an integer, without ``.0``; leading zeros stay."""
    return _whole(_bare(identifier, "sub-"))


def _whole(text: str) -> str:
    whole, dot, rest = text.partition(".")
    return whole if dot and whole.isdecimal() and rest.strip("0") == "" else text


def _number(text: str) -> str:
    text = _whole(text)
    return text.lstrip("0") or "0" if text.isdecimal() else text


def matched_rows(
    ids: pd.Series,
    column: pd.Series,
    path: Path,
    sessions: pd.Series | None = None,
    rows_of: pd.Series | None = None,
    values: pd.DataFrame | None = None,
) -> pd.Series:
    """Row of the table that each scan belongs to.

    Parameters
    ----------
    ids : Series of str
        Participants or scans, may repeat.
    column : Series of str
        The table's ids; the index is the line of the file.
    sessions : Series of str, optional
        Session of each scan, None if it has none.
    rows_of : Series of str, optional
        Session of each row of the table; without it a row is a participant or a scan.
    values : DataFrame, optional
        Other columns of the table: a scan without a session is given any row if all agree.

    Returns
    -------
    Series of Int64
        Labels of `column.index`, on the index of `ids`; NA where the table has no such row.

    Raises
    ------
    ScansError
        If an id has several rows, or two different ids of the scans have one row.
    """
    column = column.dropna()
    _refuse_mangled(column, path)
    left, right = _keys(ids, column, path)
    if rows_of is None:
        _refuse_twice(right, column, path)
        return left.map(pd.Series(right.index, index=right, dtype="Int64")).astype("Int64")
    assert sessions is not None
    assert values is not None
    lines = right.groupby(right).groups
    found = [
        _row_of(session, lines.get(key, right.index[:0]), column, path, rows_of, values)
        for key, session in zip(left, sessions.map(session_of), strict=True)
    ]
    return pd.Series(found, index=ids.index, dtype="Int64")


def _refuse_mangled(column: pd.Series, path: Path) -> None:
    odd = column[column.map(lambda v: bool(MANGLED.fullmatch(v))).astype(bool)]
    if len(odd):
        raise ScansError(
            f"{path}: line {odd.index[0]}: the id {quoted(odd.iloc[0])} has been converted to a "
            "number by a spreadsheet, which may have lost digits; take the ids from their source, "
            "as text"
        )


def _keys(ids: pd.Series, column: pd.Series, path: Path) -> tuple[pd.Series, pd.Series]:
    """What is compared, of the scans and of the rows that belong to any of them.

    Leading zeros of numbers are ignored, unless two participants differ in nothing else, both in
    the scans and in the table (``sub-01`` and ``sub-1``).
    """
    left, right = ids.map(canonical), column.map(canonical)
    right = right[right.isin(set(left))]
    spelled = ids.groupby(left).unique()
    for key, names in spelled[spelled.map(len) > 1].items():
        rows = column[right.index[right == key]].map(lambda v: _bare(v, "sub-"))
        wanted = [_bare(n, "sub-") for n in names]
        if rows.empty:
            continue
        if len(set(wanted)) < len(wanted) or set(rows) != set(wanted):
            raise ScansError(
                f"{path}: the scans name {' and '.join(names)}, which are both the row {key!r} of "
                "the table; rename one, or give each a row of the same spelling"
            )
        here = left == key
        left = left.where(~here, ids.map(lambda i: f"={_bare(i, 'sub-')}"))
        right = right.where(right != key, "=" + rows.reindex(right.index))
    return left, right


def _refuse_twice(right: pd.Series, column: pd.Series, path: Path) -> None:
    twice = right[right.duplicated(keep=False)]
    if len(twice):
        raise ScansError(
            f"{path}: {twice.nunique()} ids of {column.name!r} have more than one row, expected "
            "one each; remove rows, or, if a row is a session, name its column in "
            "phenotype.session_column, or, if a row is a scan of kind timeseries, set "
            f"phenotype.scan_column\n{_listed(twice, column)}"
        )


def _listed(twice: pd.Series, column: pd.Series) -> str:
    return "\n".join(
        f"  {key}: rows " + ", ".join(f"{line} ({column[line]})" for line in group.index)
        for key, group in list(twice.groupby(twice))[:10]
    )


def _row_of(
    session: str | None,
    lines: pd.Index,
    column: pd.Series,
    path: Path,
    rows_of: pd.Series,
    values: pd.DataFrame,
) -> int | None:
    """Of a participant's lines that of the session; if the scan has none, any, if they agree."""
    of_lines = rows_of[lines].map(session_of)
    if session is not None:
        fitting = lines[(of_lines == session).to_numpy(dtype=bool)]
        if len(fitting) > 1:
            raise ScansError(
                f"{path}: session {session!r} of {column[fitting[0]]} has more than one row, "
                f"{', '.join(map(str, fitting))}; remove all but one"
            )
        if len(fitting) or not (len(lines) == 1 and of_lines.isna().all()):
            return int(fitting[0]) if len(fitting) else None
    if not len(lines):
        return None
    others = values.loc[lines].drop(columns=[str(rows_of.name)], errors="ignore")
    differing = [c for c in others if others[c].nunique(dropna=False) > 1]
    if differing:
        raise ScansError(
            f"{path}: {column[lines[0]]} has rows of {len(lines)} sessions, which differ in "
            f"{', '.join(map(repr, differing))}, and the names of the "
            "scans give no session (ses-); "
            "choose one by phenotype.session, such as "
            f"{rows_of[lines[0]]!r}, or name the session in the scans"
        )
    return int(lines[0])
