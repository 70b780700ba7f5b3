"""Guess what the columns of a phenotype table are, by their names and by their values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from brainmass_core.draft.found import Columns, Label, Setting, counted
from brainmass_core.readers.delimited import read_delimited
from brainmass_core.readers.files import FileError
from brainmass_core.readers.groups import refuse_codes_among_names
from brainmass_core.readers.missing import (
    AGE,
    MOTION,
    NUMBER,
    POSITIVE,
    Kind,
    checked_numbers,
    mask_missing,
)
from brainmass_core.scans.repetition_time import LONGEST_T_R, SHORTEST_T_R
from brainmass_core.scans.rows import canonical

# names of columns in lower case with underscores, best first
IDS = ("participant_id", "subject_id", "sub_id", "subid", "subject", "participant", "sub", "id")
SITES = ("site", "site_id", "siteid", "scan_site", "center", "centre", "scanner", "institution")
AGES = ("age", "age_at_scan", "age_years", "age_at_visit", "ageyears")
SEXES = ("sex", "gender")
T_RS = ("t_r", "tr", "tr_s", "repetition_time", "repetitiontime")
FDS = ("mean_fd", "func_mean_fd", "fd_mean", "meanfd", "mean_framewise_displacement")
LABELS = (
    *("diagnosis", "dx", "dx_group", "group", "clinical_group", "label", "condition", "disorder"),
    *("case_control", "patient", "status", "class"),
)
CONTROLS = (
    *("control", "controls", "hc", "healthy", "healthy_control", "cn", "td", "tdc", "nc"),
    *("ctl", "ctrl", "con", "normal", "typical", "hv"),
)
MOST_VALUES = 6  # of a label


def look_at_columns(
    path: Path, people: Iterable[str], series: bool, is_default: bool
) -> Columns | None:
    """Columns of a table, if it has the people of a data set.

    Parameters
    ----------
    people : iterable of str
        Participants; for series the names of the scans.
    is_default : bool
        Whether the table would be found without being named.

    Returns
    -------
    Columns or None
        None if the table cannot be read or no column has their ids.
    """
    try:
        table = read_delimited(path)
    except FileError:
        return None
    mask_missing(table)
    wanted = set(map(canonical, people))
    overlap = _overlap(table, wanted)
    if not overlap:
        return None
    scans = max(overlap, key=lambda c: (overlap[c], _simple(c) in IDS))
    names = {_simple(c): c for c in reversed(list(table.columns))}
    settings: dict[str, Setting] = {}
    if not is_default:
        note = f"{overlap[scans]:,} of {len(wanted):,} {'scans' if series else 'participants'}"
        settings["path"] = Setting(str(path), f"has {note}")
    id_column = scans
    if series:
        id_column = next((names[n] for n in IDS if n in names), scans)
    if id_column != scans:
        settings["scan_column"] = Setting(scans, "has the names of the scans")
    if id_column != "participant_id":
        settings["id_column"] = Setting(id_column)
    remarks: list[str] = []
    _known(path, table, names, series, settings, remarks)
    taken = {str(s.value) for s in settings.values()} | {id_column, scans}
    labels = [x for c in table.columns if c not in taken and (x := _label(c, table[c])) is not None]
    by_name = sorted((x for x in labels if _simple(x.column) in LABELS), key=_rank)
    chosen = by_name[0] if by_name else None
    return Columns(settings, chosen, tuple(x for x in labels if x != chosen), tuple(remarks))


def _overlap(table: pd.DataFrame, wanted: set[str]) -> dict[str, int]:
    """Number of people that each column of ids names; ages and codes may equal a few by chance."""
    found = {}
    for column in table.columns:
        ids = table[column].dropna().map(canonical)
        common = len(wanted & set(ids))
        named = _simple(column) in IDS
        if common and (named or (common > MOST_VALUES and ids.is_unique)):
            found[column] = common
    return found


def classes_of(label: Label) -> tuple[dict[str, list[str]], str]:
    """Classes of a label, controls first, and a question if the order is not known."""
    values = list(label.counts)
    controls = [v for v in values if _simple(v) in CONTROLS]
    ordered = controls + [v for v in values if v not in controls]
    numeric = all(NUMBER.fullmatch(v) for v in values)
    names = [f"{_simple(label.column)}_{v}" if numeric else _simple(v) or v for v in ordered]
    classes = {name: [value] for name, value in zip(names, ordered, strict=True)}
    if len(classes) < len(ordered):  # names that differ only in signs
        classes = {f"class_{i}": [value] for i, value in enumerate(ordered)}
    if len(ordered) == 2 and len(controls) == 1:
        return classes, ""
    which = "name the classes" if numeric else "check the classes"
    return classes, f"{which}; of two the second is the positive one, the patients"


def _known(
    path: Path,
    table: pd.DataFrame,
    names: dict[str, str],
    series: bool,
    settings: dict[str, Setting],
    remarks: list[str],
) -> None:
    """Columns with a meaning of their own, as far as their values allow it."""
    wanted: list[tuple[str, tuple[str, ...], Kind | None]] = [
        ("site_column", SITES, None),
        ("age_column", AGES, AGE),
        ("sex_column", SEXES, None),
    ]
    if series:
        wanted += [("t_r_column", T_RS, POSITIVE), ("mean_fd_column", FDS, MOTION)]
    for setting, known, kind in wanted:
        there = [names[n] for n in known if n in names]
        if not there:
            continue
        column, others = there[0], there[1:]
        values = table[column]
        if problem := _problem(f"{path}: column {column!r}", values, setting, kind):
            remarks.append(f"? {setting}: {column} is not used: {problem}")
            continue
        more = f", or {', '.join(others)}?" if others else ""
        text = (
            counted(dict(Counter(values.dropna()).most_common(8)))
            if kind is None
            else _range(values)
        )
        settings[setting] = Setting(column, f"{text}{more}")


def _problem(where: str, values: pd.Series, setting: str, kind: Kind | None) -> str:
    """Why a column cannot be used as it is, in one line."""
    try:
        if kind is None:
            refuse_codes_among_names(values, where, positive=setting == "sex_column")
            return ""
        found = checked_numbers(values, where, kind)
    except FileError as error:
        return " ".join(str(error).split())
    if setting == "t_r_column" and not found.dropna().between(SHORTEST_T_R, LONGEST_T_R).all():
        return f"expected seconds, {SHORTEST_T_R:g} to {LONGEST_T_R:g}"
    return "" if found.notna().any() else "it has no number"


def _range(values: pd.Series) -> str:
    found = pd.to_numeric(values, errors="coerce").dropna()
    return f"{found.min():g} to {found.max():g}, {len(values) - len(found)} missing"


def _label(column: str, values: pd.Series) -> Label | None:
    """A column with few values, each of at least two rows."""
    counts = Counter(values.dropna())
    if not 2 <= len(counts) <= MOST_VALUES or min(counts.values()) < 2:
        return None
    if sum(counts.values()) < len(values) / 2:
        return None
    return Label(column, dict(sorted(counts.items())))


def _rank(label: Label) -> int:
    return LABELS.index(_simple(label.column))


def _simple(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
