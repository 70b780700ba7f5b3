"""Raw BIDS: one row per BOLD run, with its T1w, t_r and slice timing, or the reason against it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

from brainmass_core.config import Dataset
from brainmass_core.config.base import near_miss
from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.readers.files import FileError
from brainmass_core.readers.sidecar import read_object
from brainmass_core.scans.image import (
    check_one_echo,
    check_series_shape,
    phase_encoding,
    read_header,
    slice_timing,
)
from brainmass_core.scans.index import File, Sidecars, base_row, check_place, index_files
from brainmass_core.scans.naming import odd_name
from brainmass_core.scans.repetition_time import choose_t_r
from brainmass_core.scans.strays import stray_rows
from brainmass_core.scans.table import ScansError

log = logging.getLogger(__name__)
Row = dict[str, Any]
T = TypeVar("T")
DERIVED = {"desc", "space"}  # entities that raw images do not have
SURFACES = (".dtseries.nii", ".ptseries.nii", ".dscalar.nii", ".gii")
READERS = 8  # threads that wait for headers from disk or network


def list_bids(name: str, dataset: Dataset, slice_times: bool = True) -> list[Row]:
    """Rows of a raw BIDS data set, before phenotypes and split.

    Parameters
    ----------
    name : str
        Name of the data set, the prefix of its scan ids.
    slice_times : bool
        Whether slice timing will be corrected, so that it has to be right.

    Returns
    -------
    list of dict
        Some columns of `tables.SCANS`, one row per ``*_bold.nii[.gz]`` of the wanted task.

    Raises
    ------
    ScansError
        If there is no such run at all, or the folder is one of derivatives.
    """
    refuse_derivatives(name, dataset.path)
    found = index_files(dataset.path)
    files = _raw(name, dataset, found)
    bold = [f for f in files if f.named("bold") and f.entities.get("datatype") == "func"]
    strays = stray_rows(name, dataset, files, bold)
    wanted = f"*_bold.nii.gz in sub-*/[ses-*/]func{surfaces(found)}"
    bold = keep_task(bold, name, dataset, len(found), wanted)
    anatomical = defaultdict(list)
    for file in files:
        magnitude = file.entities.get("part", "mag") == "mag"
        if file.named("T1w") and file.entities.get("datatype") == "anat" and magnitude:
            anatomical[file.participant].append(file)
    sidecars = Sidecars(dataset.path)

    def one(file: File) -> Row:
        return _row(name, dataset, file, anatomical[file.participant], sidecars, slice_times)

    return [*in_threads(one, bold), *strays]


def refuse_derivatives(name: str, root: Path) -> None:
    """Refuse a folder whose description states that a pipeline has written it.

    Raises
    ------
    ScansError
        With the remedy.
    """
    path = root / "dataset_description.json"
    try:
        about = read_object(path)
    except FileError:
        return  # it is not needed
    if str(about.get("DatasetType", "")).lower() != "derivative" and not about.get(
        "PipelineDescription"
    ):
        return
    by = about.get("GeneratedBy") or [about.get("PipelineDescription")]
    first = by[0] if isinstance(by, list) and by and isinstance(by[0], dict) else {}
    raise ScansError(
        f"datasets.{name}: {path} states that {root} is derivatives, written by "
        f"{first.get('Name', 'a pipeline')}, not raw BIDS; set kind: derivatives, or path to the "
        "raw data set"
    )


def _raw(name: str, dataset: Dataset, files: list[File]) -> list[File]:
    """Files without those that a pipeline has written among raw ones.

    Raises
    ------
    ScansError
        If all BOLD runs are such files.
    """
    bold = [f for f in files if f.named("bold")]
    derived = [f for f in files if DERIVED & f.entities.keys()]
    made = [f for f in derived if f.named("bold") or f.named("T1w")]
    if made and bold and all(DERIVED & f.entities.keys() for f in bold):
        raise ScansError(
            f"datasets.{name}: all {len(bold)} BOLD runs of {dataset.path} are derivatives, such "
            f"as {bold[0].path.name}: raw BIDS has no {' or '.join(sorted(DERIVED))} in its names; "
            "set kind: derivatives, or path to the raw data set"
        )
    if made:
        log.warning(
            "%s: %d images are ignored, because raw BIDS has no %s in its names: %s",
            *(name, len(made), " or ".join(f"{d}-" for d in sorted(DERIVED))),
            ", ".join(f.path.name for f in made[:20]),
        )
    return [f for f in files if not DERIVED & f.entities.keys()]


def surfaces(files: list[File]) -> str:
    """Part of a message about CIFTI and GIFTI files; empty if there are none."""
    found = [f for f in files if f.path.name.endswith(SURFACES)]
    if not found:
        return ""
    return (
        f" ({len(found)} of them CIFTI or GIFTI, such as {found[0].path.name}, which "
        "contain surfaces; volumes are needed, with fMRIPrep: "
        "--output-spaces MNI152NLin2009cAsym, or "
        "parcel series as kind timeseries)"
    )


def in_threads(function: Callable[[File], T], files: list[File]) -> list[T]:
    """Map in file order; reading headers is waiting, so threads help on network storage."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(function, files))


def keep_task(bold: list[File], name: str, dataset: Dataset, n: int, expected: str) -> list[File]:
    """Runs of the configured task.

    Raises
    ------
    ScansError
        If nothing is left.
    """
    if not bold:
        raise ScansError(
            f"datasets.{name}: no BOLD run in {dataset.path}: found {n} BIDS files of "
            f"participants, none of them {expected}; correct path or kind"
        )
    if dataset.task is None:
        return bold
    kept = [f for f in bold if f.entities.get("task") == dataset.task]
    if not kept:
        tasks = {f.entities["task"] for f in bold if "task" in f.entities}
        raise ScansError(
            f"datasets.{name}.task: no run in {dataset.path} has the task {dataset.task!r}"
            f"{near_miss(dataset.task, tasks)}"
        )
    log.info("%s: %d runs of other tasks than %s", name, len(bold) - len(kept), dataset.task)
    return kept


def _row(
    name: str,
    dataset: Dataset,
    file: File,
    t1w: list[File],
    sidecars: Sidecars,
    slice_times: bool,
) -> Row:
    stem = file.path.name.removesuffix(f"_bold{file.entities['ext']}")
    row = base_row(name, stem, file)
    if reason := odd_name(file.path, stem):
        return row | {"excluded_reason": reason}
    reasons = []

    def attempt(step: Callable[[], None]) -> None:
        try:
            step()
        except ScanExcluded as outcome:
            reasons.append(outcome.reason)

    def image() -> None:
        row.update(_describe(file, dataset, sidecars, slice_times))

    def anatomy() -> None:
        row["t1w_path"] = str(_usable_t1w(name, file, t1w, dataset.t1w).path)

    if reason := _unsupported(file):
        return row | {"excluded_reason": reason}
    attempt(lambda: check_place(file, dataset.path))
    attempt(image)
    attempt(anatomy)
    return row | {"excluded_reason": "; ".join(reasons) or None}


def _unsupported(file: File) -> str | None:
    if "echo" in file.entities:
        return (
            f"{file.path}: echo {file.entities['echo']} of a multi-echo run, which raw input does "
            "not combine; combine the echoes first (tedana, fMRIPrep) and give the result as kind "
            "derivatives"
        )
    if file.entities.get("part", "mag") != "mag":
        return f"{file.path}: the {file.entities['part']} part of a complex run, expected magnitude"
    return None


def _describe(file: File, dataset: Dataset, sidecars: Sidecars, slice_times: bool) -> Row:
    """Number of volumes, t_r, slice timing and phase encoding, from header and sidecars."""
    header = read_header(file.path)
    n_volumes = check_series_shape(file.path, header.shape)
    metadata = sidecars.of(file)
    check_one_echo(file.path, metadata)
    t_r = choose_t_r(file.path, metadata, header, dataset.t_r_tolerance, dataset.t_r)
    try:
        times, axis = slice_timing(file.path, metadata, header.shape, t_r)
    except ScanExcluded as outcome:
        if slice_times:
            raise
        log.info("%s; not used, because preprocess.slice_timing is false", outcome.reason)
        times, axis = None, None
    direction, readout = phase_encoding(metadata, header.shape)
    return {
        "n_volumes": n_volumes,
        "t_r": t_r,
        "slice_timing": times,
        "slice_axis": axis,
        "phase_encoding": direction,
        "total_readout_time": readout,
    }


def _usable_t1w(name: str, bold: File, images: list[File], rule: str) -> File:
    chosen = choose_t1w(name, bold, images, rule)
    if reason := odd_name(chosen.path, chosen.path.name):
        raise ScanExcluded(reason, "t1w")
    shape = read_header(chosen.path).shape
    if len(shape) != 3 and shape[3:].count(1) != len(shape) - 3:
        raise ScanExcluded(f"{chosen.path}: found a T1w of shape {shape}, expected 3-D", "t1w")
    return chosen


def choose_t1w(
    name: str, bold: File, images: list[File], rule: Literal["single", "first", "last"] | str
) -> File:
    """The T1w of a run: one of its own session if there is any, else one of the other sessions.

    Parameters
    ----------
    images : list of File
        All T1w of the participant.
    rule : {'single', 'first', 'last'}
        What to do when several are left: refuse, or the first or last by session, run and name.

    Raises
    ------
    ScanExcluded
        If there is none, or several and the rule is ``single``.
    """
    own = [f for f in images if f.session == bold.session]
    candidates = sorted(own or images, key=_order)
    if not candidates:
        raise ScanExcluded(
            f"{bold.path}: {bold.participant} has no T1w image, which registration to the "
            "template needs; add one to anat/, or remove the participant",
            "t1w",
        )
    if rule == "single" and len(candidates) > 1:
        names = ", ".join(f.path.name for f in candidates)
        raise ScanExcluded(
            f"{bold.path}: found {len(candidates)} T1w images that it may belong to ({names}), "
            f"expected one; set datasets.{name}.t1w to `first` or `last`, or remove the others",
            "t1w",
        )
    return candidates[-1 if rule == "last" else 0]


def _order(file: File) -> tuple[str, int, str]:
    run = file.entities.get("run", "0")
    return file.session or "", int(run) if run.isdigit() else 0, file.path.name
