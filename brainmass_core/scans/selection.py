"""Participants and sessions that a data set's section chooses, of all that its folder has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from brainmass_core.config import Dataset
from brainmass_core.config.base import ALMOST_BOLD, near_miss
from brainmass_core.scans.index import PARTICIPANT, File, index_files
from brainmass_core.scans.table import ScansError

MOST = 20  # names in a message


def chosen_files(name: str, dataset: Dataset) -> list[File]:
    """Files of the chosen participants, without BOLD of sessions that are not chosen.

    Parameters
    ----------
    name : str
        Name of the data set, for messages.

    Returns
    -------
    list of File
        Ordered by path. Images other than BOLD are of all sessions, because a T1w may serve
        several.

    Raises
    ------
    ScansError
        If a participant or session that is chosen does not exist; the message names those that do.
    """
    people = participants_of(dataset.path) if dataset.participants else []
    refuse_unknown(f"datasets.{name}.participants", dataset.participants, people, dataset.path)
    files = index_files(dataset.path, dataset.participants)
    if not dataset.sessions:
        return files
    there = sorted({f.session for f in files if f.session})
    refuse_unknown(f"datasets.{name}.sessions", dataset.sessions, there, dataset.path)
    return [f for f in files if f.session in dataset.sessions or not _almost_bold(f)]


def participants_of(root: Path) -> list[str]:
    """Labels, without ``sub-``, of the participants' folders."""
    folders = (p for p in root.glob("sub-*") if PARTICIPANT.fullmatch(p.name))
    return sorted(p.name.removeprefix("sub-") for p in folders if p.is_dir() or p.is_symlink())


def refuse_unknown(what: str, wanted: Sequence[str], there: Iterable[str], root: Path) -> None:
    """Refuse labels that a folder does not have.

    Raises
    ------
    ScansError
        Naming those that exist.
    """
    known = list(there)
    strange = [label for label in wanted if label not in known]
    if not strange:
        return
    if not known:
        raise ScansError(f"{what}: found {', '.join(strange)}, but {root} has none; remove it")
    shown = ", ".join(known[:MOST]) + (
        f" and {len(known) - MOST} more" if len(known) > MOST else ""
    )
    close = near_miss(strange[0], known) if len(known) > MOST else ""
    raise ScansError(
        f"{what}: {root} has no {', '.join(strange)}; it has {shown}"
        + (close if close.startswith("; did") else "")
    )


def _almost_bold(file: File) -> bool:
    return bool(ALMOST_BOLD.fullmatch(file.entities.get("suffix", "")))


def sessions_of(root: Path) -> list[str]:
    """Labels, without ``ses-``, of the sessions' folders of all participants."""
    return sorted({p.name.removeprefix("ses-") for p in root.glob("sub-*/ses-*") if p.is_dir()})
