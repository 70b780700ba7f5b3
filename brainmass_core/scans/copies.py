"""One person or one recording that has two entries: in two data sets, or under two names in one."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from brainmass_core.scans.rows import padded

# what two scans may have in common, and its name in messages; the first that applies is given
MARKS = {
    "scan_id": "the same scan",
    "person": "the same participant",
    "file": "the same file",
    "source_checksum": "a copy of the file",
    "series_fingerprint": "a copy of the series",
}
SEPARATORS = re.compile(r"[_\s-]")
SHOWN = 8  # pairs in a message


class LeakError(ValueError):
    """A test participant that training or pre-training has seen."""


def persons(scans: pd.DataFrame, allowed: Iterable[str] = ()) -> pd.Series:
    """Who a scan is of: the same for one participant id in every data set.

    ``sub-``, leading zeros and ``.0`` are ignored: ``sub-0050003``, ``50003`` and ``50003.0`` are
    one id, and so are ``NDAR_INV1A`` and ``sub-NDARINV1A``, because BIDS has no separators in ids.
    Within a data set that has both ``sub-1`` and ``sub-01`` they stay two.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        dataset and participant_id.
    allowed : iterable of str
        Of `Config.allow_same_ids`: ids or patterns of ids that are other people in each data set,
        or names of data sets whose ids belong to nobody in other data sets.

    Returns
    -------
    Series of str
        The id; with the data set before it where the id is allowed to be another's.
    """
    given = scans["participant_id"].astype(str)
    bare = given.map(padded)
    plain = bare.str.lstrip("0").where(bare.str.fullmatch(r"0*[1-9]\d*"), bare)
    plain = plain.map(lambda name: SEPARATORS.sub("", name) or name)
    per_id = pd.DataFrame({"dataset": scans["dataset"], "plain": plain, "given": given})
    several = per_id.groupby(["dataset", "plain"])["given"].transform("nunique") > 1
    person = plain.where(~several, bare)
    patterns = list(allowed)
    unrelated = scans["dataset"].isin(patterns)
    names = pd.DataFrame({"given": given, "bare": bare, "person": person})
    free = {
        row: any(fnmatch.fnmatchcase(name, p) for p in patterns for name in row)
        for row in set(names.itertuples(index=False, name=None))
    }
    matched = [free[row] for row in names.itertuples(index=False, name=None)]
    return person.where(~(unrelated | np.array(matched, dtype=bool)), scans["dataset"] + "/" + bare)


def files_of(scans: pd.DataFrame) -> pd.Series:
    """What a scan is read from, as one text; missing where the path is."""
    path, key = (scans[c].astype(object).fillna("") for c in ("bold_path", "bold_key"))
    return (path + "\x1f" + key).where(path != "")


def copies(scans: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Scans that have a mark in common with one of the others.

    Parameters
    ----------
    scans, others : DataFrame
        scan_id, dataset and, where they are known, further columns of `MARKS`: a value, or of
        joined runs a list of them. A missing value is like no other.

    Returns
    -------
    DataFrame
        scan_id, other (the scan it is like), mark and within (whether both are of one data set),
        ordered by scan_id: one row per scan found.
    """
    other = pd.Series(None, index=scans.index, dtype=object)
    mark = pd.Series(None, index=scans.index, dtype=object)
    for name in MARKS:
        if name not in scans or name not in others:
            continue
        known = pd.Series(others[name].to_numpy(), index=others["scan_id"]).explode().dropna()
        known = known[~known.duplicated()]
        like = pd.Series(known.index, index=known.to_numpy(), dtype=object)
        # of joined runs the first that is like another one
        found = scans[name].explode().map(like).groupby(level=0, sort=False).first()
        found = found.reindex(scans.index)
        new = found.notna() & other.isna()
        other, mark = other.where(~new, found), mark.where(~new, name)
    datasets = others.drop_duplicates("scan_id").set_index("scan_id")["dataset"]
    within = scans["dataset"] == other.map(datasets)
    table = pd.DataFrame(
        {"scan_id": scans["scan_id"], "other": other, "mark": mark, "within": within}
    )
    return table[other.notna()].sort_values("scan_id", ignore_index=True)


def require_marks(*tables: pd.DataFrame) -> None:
    """Refuse tables of scans without every column of `MARKS`: fewer would be compared unnoticed.

    Raises
    ------
    LeakError
        Naming the columns. A column of missing values is one that was looked for.
    """
    missing = sorted({mark for table in tables for mark in MARKS if mark not in table})
    if missing:
        raise LeakError(
            f"scans cannot be compared: found no column {', '.join(missing)}, expected "
            f"{', '.join(MARKS)}; this is a fault of brainmass: please report it"
        )


def named(found: pd.DataFrame) -> str:
    """The pairs of `copies` for a message, such as ``b_x (the same participant as a_x)``."""
    pairs = [
        scan if mark == "scan_id" else f"{scan} ({MARKS[mark]} as {other})"
        for scan, other, mark, _ in found.head(SHOWN).itertuples(index=False, name=None)
    ]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(pairs) + more


def remedy(found: pd.DataFrame) -> str:
    """What can be done about the pairs of `copies`, by what they have in common."""
    marks = set(found["mark"])
    of_one = found["within"] & (found["mark"] == "person")  # it has come to the wrong side
    lines = []
    if (found["mark"] == "person").any() and not of_one.all():
        lines.append(
            "if they are two people who share an id, list the id, or one of the two data sets, "
            "under allow_same_ids; if they are one person, take the scans out of one of the data "
            "sets"
        )
    if marks & {"file", "source_checksum", "series_fingerprint"}:
        lines.append(
            "find out whose scan it is, and remove one of the two files or one of the two data sets"
        )
    if "scan_id" in marks or of_one.any():
        lines.append(
            "remove the folders pfc and pretrain of the results and run the same command again"
        )
    return "; ".join(lines)


def duplicates(scans: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Recordings that are there more than once.

    Parameters
    ----------
    scans : DataFrame
        scan_id, and any of file, source_checksum and series_fingerprint. A missing value is like no
        other.

    Returns
    -------
    list of (mark, scan ids)
        Each group once, under the first mark of `MARKS` that its scans share; sorted.
    """
    groups: dict[tuple[str, ...], str] = {}
    for mark in ("file", "source_checksum", "series_fingerprint"):
        if mark not in scans:
            continue
        known = scans.dropna(subset=[mark])
        known = known[known[mark].duplicated(keep=False)]
        for _, members in known.groupby(mark)["scan_id"]:
            groups.setdefault(tuple(sorted(members)), mark)
    return sorted(((mark, list(ids)) for ids, mark in groups.items()), key=lambda g: g[1])
