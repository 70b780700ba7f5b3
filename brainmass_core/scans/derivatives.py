"""fMRIPrep or C-PAC derivatives: preprocessed BOLD in a template space, mask and confounds.

One row per run. When a run was written in several spaces or resolutions, the first of
`TEMPLATES` is taken, then any other MNI152 space, then C-PAC's ``space-template``; within a space
the file with the shortest list of other entities, then the first by name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from brainmass_core.config import Dataset
from brainmass_core.manifest import ScanExcluded
from brainmass_core.scans.bids import Row, base_row, in_threads, keep_task
from brainmass_core.scans.image import check_series_shape, choose_t_r, read_header
from brainmass_core.scans.index import File, Sidecars, check_place, index_files

TEMPLATES = ("MNI152NLin2009cAsym", "MNI152NLin6Asym")
# what a pipeline adds to the entities of the raw run; the others say which run it is
ADDED = ("space", "cohort", "res", "den", "desc", "label", "reg")
CONFOUNDS = (  # newest naming first: (suffix, desc, extension)
    ("timeseries", "confounds", ".tsv"),
    ("regressors", "confounds", ".tsv"),
)
Run = tuple[tuple[str, str], ...]


def list_derivatives(name: str, dataset: Dataset) -> list[Row]:
    """Rows of a folder of derivatives, before phenotypes and split.

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
    wanted = "*_space-<template>_desc-preproc_bold.nii.gz"
    bold = keep_task(bold, name, dataset, len(files), wanted)
    versions = defaultdict(list)
    for file in bold:
        versions[run_of(file)].append(file)
    chosen = [min(found, key=_preference) for _, found in sorted(versions.items())]
    companions = defaultdict(list)
    for file in files:
        if file.entities.get("suffix") in ("mask", "timeseries", "regressors"):
            companions[run_of(file)].append(file)
    sidecars = Sidecars(dataset.path)

    def one(file: File) -> Row:
        return _row(name, dataset, file, companions[run_of(file)], sidecars)

    return in_threads(one, chosen)


def run_of(file: File) -> Run:
    """Entities of the raw run that a derivative was made from."""
    drop = {*ADDED, "datatype", "suffix", "ext"}
    return tuple(sorted((k, v) for k, v in file.entities.items() if k not in drop))


def _is_preproc(file: File) -> bool:
    # C-PAC numbers its strategies: desc-preproc-1
    return bool(re.fullmatch(r"preproc(-\d+)?", file.entities.get("desc", "")))


def _preference(file: File) -> tuple[int, int, str]:
    space = file.entities.get("space", "")
    if space in TEMPLATES:
        rank = TEMPLATES.index(space)
    elif space.startswith("MNI152"):
        rank = len(TEMPLATES)
    else:
        rank = len(TEMPLATES) + (1 if space == "template" else 2)
    return rank, len(file.entities), file.path.name


def _stem(file: File) -> str:
    parts = file.path.name.split("_")[:-1]
    return "_".join(p for p in parts if p.split("-")[0] not in ADDED)


def _row(
    name: str, dataset: Dataset, file: File, companions: list[File], sidecars: Sidecars
) -> Row:
    row: dict[str, Any] = base_row(name, _stem(file), file)
    reasons = []
    for step in (
        lambda: _check_name(file, dataset),
        lambda: _describe(file, dataset, sidecars),
        lambda: {"confounds_path": _confounds(file, companions)},
        lambda: {"mask_path": _mask(file, companions)},
    ):
        try:
            row |= step()
        except ScanExcluded as outcome:
            reasons.append(outcome.reason)
    return row | {"excluded_reason": "; ".join(reasons) or None}


def _check_name(file: File, dataset: Dataset) -> Row:
    check_place(file, dataset.path)
    if _preference(file)[0] > len(TEMPLATES) + 1:
        raise ScanExcluded(
            f"{file.path}: its space is {file.entities.get('space', 'native')!r}, expected a "
            f"template space ({', '.join(TEMPLATES)} or another MNI152); let the pipeline write "
            "it, with fMRIPrep: --output-spaces MNI152NLin2009cAsym",
            "space",
        )
    return {}


def _describe(file: File, dataset: Dataset, sidecars: Sidecars) -> Row:
    header = read_header(file.path)
    n_volumes = check_series_shape(file.path, header.shape)
    metadata = sidecars.of(file)
    t_r = choose_t_r(file.path, metadata, header, dataset.t_r_tolerance, dataset.t_r)
    return {"n_volumes": n_volumes, "t_r": t_r}


def _confounds(file: File, companions: list[File]) -> str:
    for suffix, description, extension in CONFOUNDS:
        for other in companions:
            if other.named(suffix, (extension,)) and other.entities.get("desc") == description:
                return str(other.path)
    raise ScanExcluded(
        f"{file.path}: no confounds table of this run, expected {_stem(file)}_desc-confounds_"
        "timeseries.tsv beside it; copy it from the pipeline's output",
        "confounds",
    )


def _mask(file: File, companions: list[File]) -> str:
    """The brain mask on the same grid: same space, cohort and resolution."""

    def grid(f: File) -> list[str | None]:
        return [f.entities.get(k) for k in ("space", "cohort", "res")]

    for description in ("brain", "bold"):  # fMRIPrep's and C-PAC's names
        for other in companions:
            same = other.named("mask") and grid(other) == grid(file)
            if same and other.entities.get("desc") == description:
                return str(other.path)
    raise ScanExcluded(
        f"{file.path}: no brain mask on its grid, expected {_stem(file)}_space-"
        f"{file.entities.get('space')}_desc-brain_mask.nii.gz beside it; copy it from the "
        "pipeline's output",
        "mask",
    )
