"""Write a configuration as YAML in which guesses and questions are comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from brainmass_core.config.base import NAME
from brainmass_core.draft.columns import classes_of, look_at_columns
from brainmass_core.draft.found import Columns, DraftError, Found, Label, Setting, counted
from brainmass_core.draft.images import look_at_images
from brainmass_core.draft.series import look_at_series
from brainmass_core.pipeline.stages import STAGES
from brainmass_core.scans.folder_kind import kind_of
from brainmass_core.scans.rows import canonical

MARK = "# ?"  # of a guess or a question
GENERIC = {"bids", "data", "rawdata", "raw", "derivatives", "fmriprep", "output", "out", "func"}
UNKNOWN_T_R = 2.0  # s, written with a question
FEW = 5  # participants of the smallest class for the default number of folds


def draft(paths: Sequence[Path], results: Path, atlas: Path | None = None) -> str:
    """A configuration for the data sets in some folders.

    Parameters
    ----------
    paths : sequence of Path
        Folders of raw BIDS, derivatives or parcel series.
    results : Path
        Setting ``results``.
    atlas : Path, optional
        Label image.

    Returns
    -------
    str
        YAML. Lines with `MARK` are guesses or questions.

    Raises
    ------
    DraftError
        If a folder has neither images nor series.
    """
    datasets: dict[str, tuple[Found, Columns | None]] = {}
    for path in paths:
        root = Path(path).absolute()
        found = look(root)
        datasets[_name(root, datasets)] = found, _columns(found)
    lines = [
        "# Written by `brainmass init` from what it found. A line with `# ?` is a guess or a",
        "# question: answer these first. Settings that are not here have their defaults, which",
        "# `brainmass config reference` lists.",
        *_line(0, "results", Setting(str(results), "folder for all output")),
        "",
        "datasets:",
    ]
    for name, (found, columns) in datasets.items():
        lines += _dataset(name, found, columns)
    lines += ["", *_same_people(datasets), *_atlas(datasets, atlas), *_tasks(datasets)]
    return "\n".join(lines).rstrip() + "\n"


def look(root: Path) -> Found:
    """What is in a folder.

    Raises
    ------
    DraftError
        If there is nothing that the workflow reads.
    """
    if not root.is_dir():
        raise DraftError(f"{root}: expected a folder with data; correct the path")
    kind = kind_of(root)
    if kind is None:
        raise DraftError(
            f"{root}: found neither BOLD runs in sub-*/[ses-*/]func nor parcel series (.npy, .npz, "
            ".1D, .tsv, .csv, .txt); give the folder that contains them"
        )
    return look_at_series(root) if kind == "timeseries" else look_at_images(root, kind)


def _columns(found: Found) -> Columns | None:
    """The first table with ids of the data set."""
    series = found.kind == "timeseries"
    for path in found.tables:
        is_default = not series and str(path.parent) == found.settings["path"].value
        columns = look_at_columns(path, found.people, series, is_default)
        if columns is not None:
            return columns
    return None


def _name(root: Path, taken: dict[str, Any]) -> str:
    folder = root.parent if root.name.lower() in GENERIC and root.parent.name else root
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", folder.name).strip("_")[:70]
    if not re.match(NAME, name) or name in (*STAGES, "all"):
        name = f"data_{name}".rstrip("_")
    lower = {t.lower() for t in taken}
    if name.lower() not in lower:
        return name
    return next(f"{name}_{i}" for i in range(2, 1000) if f"{name}_{i}".lower() not in lower)


def _line(indent: int, key: str, setting: Setting) -> list[str]:
    """A setting, with its note behind it and its question above."""
    space = " " * indent
    question = " ".join(setting.question.split())
    lines = [f"{space}{MARK} {question}"] if question else []
    note = f"  # {' '.join(setting.note.split())}" if setting.note else ""
    return [*lines, f"{space}{key}: {_value(setting.value)}{note}"]


def _value(value: Any) -> str:
    if (
        isinstance(value, str)
        and re.fullmatch(r"[A-Za-z_/.][\w/. -]*", value)
        and not _is_word(value)
    ):
        return value
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _is_word(value: str) -> bool:
    """Whether YAML reads a word as something else than text."""
    return value.strip() != value or value.lower() in {
        *("true", "false", "yes", "no", "on", "off", "null", "y", "n", ".inf", ".nan", "."),
    }


def _remark(indent: int, text: str) -> str:
    text = " ".join(text.split())
    return " " * indent + (f"{MARK} {text[2:]}" if text.startswith("? ") else f"# {text}")


def _dataset(name: str, found: Found, columns: Columns | None) -> list[str]:
    path = found.settings["path"]
    note = f"{found.n_scans:,} scans of {len(found.people):,} participants"
    if found.kind == "timeseries":
        note = f"{found.n_scans:,} parcel series"
    lines = [f"  {name}:", *_line(4, "kind", Setting(found.kind, note))]
    role = "all are evaluated; `internal` keeps a part of them for pre-training"
    lines += _line(4, "role", Setting("external", role))
    lines += _line(4, "path", path)
    for key, setting in found.settings.items():
        lines += _line(4, key, setting) if key != "path" else []
    lines += [_remark(4, text) for text in found.remarks]
    if columns is None:
        lines.append(f"    {MARK} no phenotype table with these participants was found: add one as")
        lines.append("    # phenotype: {path: participants.tsv, id_column: participant_id}")
    if found.kind == "timeseries" and "t_r_column" not in (columns.settings if columns else {}):
        question = "which repetition time in s? Series do not contain it, and no column was found"
        lines += _line(4, "t_r", Setting(UNKNOWN_T_R, question=question))
    if columns is not None:
        if columns.label is not None:
            lines += _line(4, "stratify_by", Setting(columns.label.column))
        lines += ["    phenotype:"] if columns.settings else []
        for key, setting in columns.settings.items():
            lines += _line(6, key, setting)
        lines += [_remark(4, text) for text in columns.remarks]
    return lines


def _same_people(datasets: dict[str, tuple[Found, Columns | None]]) -> Iterator[str]:
    names = list(datasets)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            first, second = (set(map(canonical, datasets[n][0].people)) for n in (one, other))
            if common := sorted(first & second):
                yield f"{MARK} {len(common)} ids, such as {common[0]}, are in {one} and in {other}:"
                yield "# are they the same people?"
                yield f"# If they are others: allow_same_ids: [{other}]"
                yield ""


def _atlas(datasets: dict[str, tuple[Found, Columns | None]], image: Path | None) -> Iterator[str]:
    yield "atlas:"
    if image is not None:
        yield from _line(2, "name", Setting(image.name.removesuffix(".gz").removesuffix(".nii")))
        yield from _line(2, "path", Setting(str(image.absolute())))
    elif any(found.kind != "timeseries" for found, _ in datasets.values()):
        note = "looked for in nilearn's cache, else downloaded; or give the image as `path`"
        yield from _line(2, "name", Setting("Schaefer2018-100-7networks", note))
    series = [found.atlas for found, _ in datasets.values() if found.atlas]
    for key, setting in (series[0] if series else {}).items():
        if key != "name" or (image is None and len(series) == len(datasets)):
            yield from _line(2, key, setting)
    sizes = {atlas["n_rois"].value for atlas in series}
    if len(sizes) > 1:
        there = " and ".join(map(str, sorted(sizes)))
        yield f"  {MARK} series have {there} parcels, but a study has"
        yield "  # one atlas; write a configuration for each"
    yield ""


def _tasks(datasets: dict[str, tuple[Found, Columns | None]]) -> Iterator[str]:
    """One task for each label column, over all data sets that have its values."""
    found: dict[str, list[tuple[str, Label]]] = {}
    for name, (_, columns) in datasets.items():
        if columns is not None and columns.label is not None:
            found.setdefault(columns.label.column, []).append((name, columns.label))
    usable = {c: sets for c, sets in found.items() if min(_total(sets).values()) >= 2}
    if not usable:
        yield f"{MARK} no column looks like a diagnosis: the study ends with FC and quality pages"
        yield "# tasks: {dx: {datasets: [..], label: COLUMN, classes: {control: [0], case: [1]}}}"
    else:
        yield "tasks:"
    for column, sets in usable.items():
        yield from _task(column, sets, datasets)
    for name, (_, columns) in datasets.items():
        for label in columns.others if columns else ():
            values = f"{label.column}: {counted(label.counts)}"
            yield _remark(0, f"another column of {name} with few values is {values}")


def _total(sets: list[tuple[str, Label]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for _, label in sets:
        for value, n in label.counts.items():
            total[value] = total.get(value, 0) + n
    return total


def _task(column: str, sets: list[tuple[str, Label]], datasets: dict[str, Any]) -> Iterator[str]:
    total = _total(sets)
    classes, question = classes_of(Label(column, total))
    name = re.sub(r"[^a-z0-9_]+", "_", column.lower()).strip("_")
    if not re.match(NAME, name) or name in (*STAGES, *datasets, "all", "index"):
        name = f"task_{name}".rstrip("_")
    yield f"  {name}:  # also a target: snakemake --cores all {name} --configfile ..."
    yield from _line(4, "datasets", Setting([dataset for dataset, _ in sets]))
    yield from _line(4, "label", Setting(column, f"values and rows: {counted(total)}"))
    if question:
        yield f"    {MARK} {question}"
    yield "    classes:"
    for cls, values in classes.items():
        yield from _line(6, json.dumps(cls) if _is_word(cls) else cls, Setting(values))
    if (least := min(total.values())) < FEW:
        yield "    protocol:"
        note = f"the smallest class has {least} rows"
        yield from _line(6, "n_splits", Setting(max(2, min(least, FEW)), note))
