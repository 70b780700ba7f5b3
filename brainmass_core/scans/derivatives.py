"""fMRIPrep or C-PAC derivatives: preprocessed BOLD in a template space, mask and confounds.

One row per run. When a run was written in several spaces or resolutions, the atlas's own space is
taken first, then the others of `TEMPLATES`, from which a bridge leads there, then any other; within
a space the file with the shortest list of other entities, then the first by name. C-PAC's
``space-template`` names none: it is FSL's, C-PAC's default, unless the sidecar names another.

C-PAC's ``desc-preproc`` BOLD has been through its nuisance regression, once per strategy (``reg-``,
before 1.8.5 a number: ``desc-preproc-1``). ``desc-head``, which it writes when it regresses in
template space, has not, and is taken first.
"""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from brainmass_core.config import Dataset
from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.readers.files import FileError, check_regular
from brainmass_core.scans.bids import Row, in_threads, keep_task, surfaces
from brainmass_core.scans.cpac import cpac_files, stem_of, strategy_of
from brainmass_core.scans.image import check_series_shape, read_header
from brainmass_core.scans.index import (
    IMAGES,
    File,
    Sidecars,
    base_row,
    check_place,
    index_files,
)
from brainmass_core.scans.naming import odd_name
from brainmass_core.scans.repetition_time import choose_t_r
from brainmass_core.scans.strays import stray_rows
from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C, SpaceError, space_name
from brainmass_core.spaces.bridges import bridge

log = logging.getLogger(__name__)
TEMPLATES = (FSL, ICBM_2009C, ICBM_2009A)
CONFOUNDS = (  # newest naming first: (suffix, desc, extension)
    ("timeseries", "confounds", ".tsv"),
    ("regressors", "confounds", ".tsv"),
)
Run = tuple[str, ...]


def list_derivatives(name: str, dataset: Dataset, atlas_space: str | None = None) -> list[Row]:
    """Rows of a folder of derivatives, before phenotypes and split.

    Parameters
    ----------
    atlas_space : str, optional
        Space of the atlas, in which runs are wanted; None if it is not known yet.

    Returns
    -------
    list of dict
        Some columns of `tables.SCANS`, one row per run with a ``desc-preproc`` BOLD image.

    Raises
    ------
    ScansError
        If there is no such run at all.
    """
    files = index_files(dataset.path)
    bold = [f for f in files if f.named("bold") and _is_preproc(f)]
    wanted = f"*_space-<template>_desc-preproc_bold.nii.gz{surfaces(files)}"
    bold = keep_task(bold, name, dataset, len(files), wanted)
    versions = defaultdict(list)
    for file in _without_echoes(name, bold):
        versions[run_of(file)].append(file)

    def preference(file: File) -> tuple[int, bool, int, str]:
        return _preference(file, atlas_space)

    chosen = [min(_unregressed(found), key=preference) for _, found in sorted(versions.items())]
    companions = defaultdict(list)
    for file in files:
        if file.entities.get("suffix") in ("mask", "timeseries", "regressors"):
            companions[run_of(file)].append(file)
    sidecars = Sidecars(dataset.path)

    def one(file: File) -> Row:
        run = run_of(file)
        return _row(name, dataset, file, companions[run], sidecars, versions[run], atlas_space)

    others = [f for f in files if _is_preproc(f) and f not in bold]
    return [*in_threads(one, chosen), *stray_rows(name, dataset, [*bold, *others], bold)]


def _without_echoes(name: str, bold: list[File]) -> list[File]:
    """BOLD without single echoes of runs that are there combined; of others the first echo."""
    single = [f for f in bold if "echo" in f.entities]
    if not single:
        return bold
    kept = [f for f in bold if "echo" not in f.entities]
    there = {_combined(f) for f in kept}
    alone = [f for f in single if _combined(f) not in there]
    if len(alone) < len(single):
        log.info(
            "%s: %d files of single echoes are ignored, because their runs exist combined: %s",
            *(name, len(single) - len(alone)),
            ", ".join(f.path.name for f in single if f not in alone)[:500],
        )
    first: dict[Run, File] = {}
    for file in sorted(alone, key=lambda f: (f.entities["echo"], f.path.name)):
        first.setdefault(_combined(file), file)
    return [*kept, *first.values()]


def _combined(file: File) -> Run:
    """The run that an echo belongs to."""
    return tuple(part for part in run_of(file) if not part.startswith("echo-"))


def run_of(file: File) -> Run:
    """Parts of the name of the raw run that a derivative was made from, in any order."""
    return tuple(sorted(_stem(file).split("_")))


def _is_preproc(file: File) -> bool:
    if file.entities.get("desc") == "head":
        return "space" in file.entities
    return bool(re.fullmatch(r"preproc(-?\d+)?", file.entities.get("desc", "")))


def _unregressed(files: list[File]) -> list[File]:
    """Of the versions of a run, those that no nuisance model was applied to, if there are any."""
    head = [f for f in files if f.entities["desc"] == "head" and _in_template(f)]
    return head or [f for f in files if f.entities["desc"] != "head"] or files


def strategies_of(files: list[File]) -> list[str]:
    """All strategies of a run."""
    found = {strategy_of(f.path) for f in files if _in_template(f)}
    return sorted(s for s in found if s is not None)


def _in_template(file: File) -> bool:
    space = file.entities.get("space", "")
    return space.startswith("MNI") or space == "template"


def _named_space(file: File) -> str | None:
    """The space in a file's name; None if there is none, or a vague one."""
    space = file.entities.get("space", "")
    try:
        named = FSL if space == "template" else space_name(space)
    except SpaceError:
        return None
    cohort = file.entities.get("cohort")  # of a template that has several, each a separate space
    return f"{named}Cohort{cohort}" if cohort else named


def _preference(file: File, atlas_space: str | None) -> tuple[int, bool, int, str]:
    named = _named_space(file)
    order = [s for s in (atlas_space, *TEMPLATES) if s is not None]
    other = len(order) if _in_template(file) else len(order) + 1
    rank = order.index(named) if named in order else other
    vague = file.entities.get("space") == "template"
    return rank, vague, len(file.entities), file.path.name


def _stem(file: File) -> str:
    return stem_of(file.path)


def _row(
    name: str,
    dataset: Dataset,
    file: File,
    companions: list[File],
    sidecars: Sidecars,
    versions: list[File],
    atlas_space: str | None,
) -> Row:
    row: dict[str, Any] = base_row(name, _stem(file), file)
    if reason := odd_name(file.path, _stem(file)):
        return row | {"excluded_reason": reason}
    reasons = []
    if "echo" in file.entities:
        return row | {
            "excluded_reason": f"{file.path}: echo {file.entities['echo']} of a multi-echo run "
            "that is not there combined; let the pipeline write the combination (fMRIPrep does "
            "without --me-output-echos too), or remove the run"
        }
    if file.entities.get("part", "mag") != "mag":
        return row | {
            "excluded_reason": f"{file.path}: the {file.entities['part']} part of a complex run, "
            "expected magnitude"
        }
    for step in (
        lambda: _check_name(file, dataset, atlas_space, versions),
        lambda: {"space": _space(file, sidecars.of(file), atlas_space)},
        lambda: _check_strategy(file, strategies_of(versions)),
        lambda: _describe(file, dataset, sidecars),
        lambda: {"confounds_path": _confounds(file, companions)},
        lambda: {"mask_path": _mask(file, companions)},
    ):
        try:
            row |= step()
        except ScanExcluded as outcome:
            reasons.append(outcome.reason)
    return row | {"excluded_reason": "; ".join(reasons) or None}


def _check_name(file: File, dataset: Dataset, atlas_space: str | None, versions: list[File]) -> Row:
    check_place(file, dataset.path)
    stem = file.path.name.removesuffix(str(file.entities["ext"]))
    twins = [f.path for f in versions if f.path.name in {f"{stem}{ext}" for ext in IMAGES}]
    if len(twins) > 1:
        found = " and ".join(os.path.relpath(t, file.path.parent) for t in twins)
        raise ScanExcluded(
            f"{file.path.parent}: found {found}, expected one of them, because they may differ; "
            "remove the other",
            "name",
        )
    if not _in_template(file) and _named_space(file) != atlas_space:
        raise ScanExcluded(
            f"{file.path}: its space is {file.entities.get('space', 'native')!r}, expected a "
            f"template space ({', '.join(TEMPLATES)} or another MNI152); let the pipeline write "
            f"it, with fMRIPrep: --output-spaces {atlas_space or FSL}",
            "space",
        )
    return {}


def _space(file: File, metadata: dict[str, Any], atlas_space: str | None) -> str:
    """The template space of a run, by name and sidecar, from which the atlas can be reached."""
    written = file.entities.get("space", "")
    try:
        named = _named_space(file) or space_name(written)  # the latter raises the reason
        said = _spatial_reference(metadata)
        if said and written == "template":
            named = said
        if said and said != named and not named.startswith(f"{said}Cohort"):
            raise SpaceError(
                f"its name gives {named}, SpatialReference of its sidecar "
                f"{said}; correct the wrong "
                "one"
            )
        if atlas_space is not None:
            bridge(named, atlas_space)
            bridge(atlas_space, named)
    except SpaceError as error:
        raise ScanExcluded(f"{file.path}: {error}", "space") from None
    return named


def _spatial_reference(metadata: dict[str, Any]) -> str | None:
    """The template that a sidecar's SpatialReference names, as path, URL or BIDS URI."""
    value = metadata.get("SpatialReference")
    texts = value.values() if isinstance(value, dict) else [value]
    found = (re.search(r"tpl-([A-Za-z0-9]+)", t) for t in texts if isinstance(t, str))
    names = [match[1] for match in found if match]
    return space_name(names[0]) if names else None


def _check_strategy(file: File, strategies: list[str]) -> Row:
    if strategy_of(file.path) is not None and len(strategies) > 1:
        raise ScanExcluded(
            f"{file.path}: found BOLD of {len(strategies)} nuisance strategies of C-PAC ("
            f"{', '.join(strategies)}), expected one, because which was applied changes the "
            "series; give a folder with (links to) the files of one of them",
            "strategy",
        )
    return {}


def _describe(file: File, dataset: Dataset, sidecars: Sidecars) -> Row:
    header = read_header(file.path)
    n_volumes = check_series_shape(file.path, header.shape)
    metadata = sidecars.of(file)
    t_r = choose_t_r(file.path, metadata, header, dataset.t_r_tolerance, dataset.t_r, True)
    return {"n_volumes": n_volumes, "t_r": t_r}


def _confounds(file: File, companions: list[File]) -> str:
    for suffix, description, extension in CONFOUNDS:
        for other in companions:
            if other.named(suffix, (extension,)) and other.entities.get("desc") == description:
                return _readable(other.path, "confounds")
    if found := cpac_files(file.path):
        return str(found[0])
    raise ScanExcluded(
        f"{file.path}: no confounds table of this run, expected {_stem(file)}_desc-confounds_"
        "timeseries.tsv next to it, or C-PAC's _regressors.1D or "
        "_desc-movementParameters_motion.1D;"
        " copy it from the pipeline's output",
        "confounds",
    )


def _readable(path: Path, step: str) -> str:
    try:
        check_regular(path)
    except FileError as error:
        raise ScanExcluded(str(error), step) from None
    if reason := odd_name(path, path.name):
        raise ScanExcluded(reason, step)
    return str(path)


def _mask(file: File, companions: list[File]) -> str:
    """The brain mask on the same grid: same space, cohort and resolution."""

    def grid(f: File) -> list[str | None]:
        return [f.entities.get(k) for k in ("space", "cohort", "res")]

    for description in ("brain", "bold"):  # fMRIPrep's and C-PAC's names
        for other in companions:
            same = other.named("mask") and grid(other) == grid(file)
            if same and other.entities.get("desc") == description:
                return _readable(other.path, "mask")
    raise ScanExcluded(
        f"{file.path}: no brain mask on its grid, expected {_stem(file)}_space-"
        f"{file.entities.get('space')}_desc-brain_mask.nii.gz next to it; copy it from the "
        "pipeline's output",
        "mask",
    )
