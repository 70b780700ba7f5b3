"""Files that are almost BOLD runs of a BIDS folder: excluded scans, so that all are reported."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from brainmass_core.config import Dataset
from brainmass_core.config.base import ALMOST_BOLD
from brainmass_core.scans.index import IMAGES, PARTICIPANT, File, base_row
from brainmass_core.scans.naming import odd_name, shown

Row = dict[str, Any]
log = logging.getLogger(__name__)


def stray_rows(name: str, dataset: Dataset, files: list[File], bold: list[File]) -> list[Row]:
    """Rows of folders that are not participants, and of images that are not BOLD runs by mistake.

    Parameters
    ----------
    files : list of File
        Those of the folder that may be scans.
    bold : list of File
        Those of them that are BOLD runs by their names and places.

    Returns
    -------
    list of dict
        Some columns of `tables.SCANS`, all with a reason. A file with the name of a run
        that is in its place is ignored: it is a copy.
    """
    taken = {_stem(f) for f in bold} | {f.path for f in bold}
    rows = []
    for file in files:
        reason = None if file.path in taken else _why_not_bold(file)
        of_task = dataset.task in (None, file.entities.get("task"))
        if reason and of_task and _stem(file) not in taken:
            row = base_row(name, _stem(file), file)
            rows.append(row | {"excluded_reason": f"{shown(file.path)}: {reason}"})
    return [*rows, *_odd_folders(name, dataset.path.absolute())]


def _stem(file: File) -> str:
    return file.path.name.removesuffix(f"_bold{file.entities.get('ext', '')}")


def _why_not_bold(file: File) -> str | None:
    """Why an image is not a BOLD run although its name resembles that of one."""
    suffix, extension = file.entities.get("suffix", ""), file.entities.get("ext", "")
    if not ALMOST_BOLD.fullmatch(suffix) or extension.lower() not in IMAGES:
        return None
    if suffix != "bold" or extension not in IMAGES:
        return (
            f"its name ends in {suffix + extension!r}, expected 'bold.nii.gz' or 'bold.nii'; "
            "rename it, or remove it if it is a copy"
        )
    folder = file.path.parent.name
    return f"a BOLD run in the folder {folder!r}, expected it in 'func'; move it"


def _odd_folders(name: str, root: Path) -> list[Row]:
    """Rows of folders ``sub-*`` with BOLD images that are not participants, and of broken links.

    Other things are called ``sub-*`` too, such as the reports of fMRIPrep.
    """
    rows, others = [], []
    for path in sorted(root.glob("sub-*")):
        label = path.name.removeprefix("sub-")
        broken = path.is_symlink() and not path.exists()
        if PARTICIPANT.fullmatch(path.name) and broken:
            reason = "a broken link in place of the folder of a participant; repair the link"
        elif PARTICIPANT.fullmatch(path.name) or not path.is_dir():
            continue
        elif _holds_bold(path):
            reason = (
                "not a BIDS participant, because a label consists of letters and digits; rename "
                "the folder and the files in it"
            )
        else:
            others.append(shown(path.name))
            continue
        file = File(path, {"sub": label})
        reason = odd_name(path, path.name) or f"{path}: {reason}"
        rows.append(base_row(name, path.name, file) | {"excluded_reason": reason})
    if others:
        log.warning(
            "%s: %d folders without BOLD are not BIDS participants, because a label consists of "
            "letters and digits, and are ignored: %s",
            *(name, len(others), ", ".join(others[:20])),
        )
    return rows


def _holds_bold(folder: Path) -> bool:
    return any(any(folder.glob(f"{deep}*_bold.nii*")) for deep in ("*/", "*/*/"))
