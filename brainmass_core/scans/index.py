"""Find the files of a BIDS folder (with bids2table) and the sidecars that apply to each."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bids2table

from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.readers.files import FileError
from brainmass_core.readers.sidecar import read_object
from brainmass_core.scans.naming import shown, written

log = logging.getLogger(__name__)
logging.getLogger("bidsschematools").setLevel(logging.WARNING)  # it logs which schema it contains
IMAGES = (".nii", ".nii.gz")
AT_ONCE = 1000
PARTICIPANT = re.compile(r"sub-[^\W_]+")
DEEP = 4  # parts of a path in BIDS: participant, session, kind of data, file


@dataclass(frozen=True)
class File:
    """One file of a BIDS folder.

    Attributes
    ----------
    entities : dict of str
        As written in the name (``run-01`` stays ``01``), with ``datatype``, ``suffix``, ``ext``.
    """

    path: Path
    entities: dict[str, str]

    @property
    def participant(self) -> str:
        """BIDS name of the participant, such as ``sub-01``."""
        return f"sub-{self.entities['sub']}"

    @property
    def session(self) -> str | None:
        """Session label without ``ses-``."""
        return self.entities.get("ses")

    def named(self, suffix: str, extensions: tuple[str, ...] = IMAGES) -> bool:
        """Whether the file has this suffix and one of these extensions."""
        e = self.entities
        return e.get("suffix") == suffix and e.get("ext") in extensions


def base_row(name: str, stem: str, file: File) -> dict[str, Any]:
    """Columns that are known from the file's name."""
    return {
        "scan_id": f"{name}_{written(stem)}",
        "participant_id": written(file.participant),
        "session": file.session,
        "task": file.entities.get("task"),
        "run": file.entities.get("run"),
        "bold_path": shown(file.path),
    }


def index_files(root: Path) -> list[File]:
    """All files of a BIDS or BIDS-derivatives folder, ordered by path.

    Folders ``sub-*`` without a label of letters and digits are ignored, see `strays`.
    Participants are indexed some at a time through temporary links. The indexer's tables have a
    column per entity of BIDS and take 50 kB per participant; and it does not recognise a data
    set whose folder name has a dot (``ds000030_R1.0.5``), a leading dot or a glob character.
    """
    root = root.absolute()
    folders = sorted(p for p in root.glob("sub-*") if PARTICIPANT.fullmatch(p.name) and p.is_dir())
    paths: list[str] = []
    with tempfile.TemporaryDirectory(prefix="brainmass-index-") as temporary:
        for start in range(0, len(folders), AT_ONCE):
            part = Path(temporary) / f"participants{start}"
            part.mkdir()
            for folder in folders[start : start + AT_ONCE]:
                (part / folder.name).symlink_to(folder, target_is_directory=True)
            paths += _indexed(part)
    again = [p for p in paths if len(Path(p).parts) > DEEP and _in_a_loop(root, Path(p))]
    if again:
        log.warning(
            "%s: %d files are ignored, because a link leads back to a folder that contains it: %s",
            *(root, len(again), min(again, key=len)),
        )
    paths = sorted(set(paths) - set(again))
    files = [File(root / p, bids2table.parse_bids_entities(p)) for p in paths]
    return [f for f in files if "sub" in f.entities]


def _indexed(part: Path) -> list[str]:
    """Files of a folder of participants; the indexer cannot read names that are not UTF-8."""
    try:
        return list(bids2table.index_dataset(part)["path"].to_pylist())
    except UnicodeEncodeError:
        found = [
            os.path.relpath(os.path.join(folder, name), part)
            for folder, _, names in os.walk(part, followlinks=True)
            for name in names
            if not name.startswith(".")
        ]
        return [path for path in found if Path(path).name.startswith("sub-")]


def _in_a_loop(root: Path, path: Path) -> bool:
    """Whether a folder on the way to a file is a link to one before it on that way."""
    folders = [root / parent for parent in path.parents]
    links = [f for f in folders if f.is_symlink()]
    return any(
        link.resolve() in (link.parent.resolve(), *link.parent.resolve().parents) for link in links
    )


def check_place(file: File, root: Path) -> None:
    """Refuse a file whose name gives another participant or session than its folder.

    Raises
    ------
    ScanExcluded
        Because it is not known to whom the data belong.
    """
    folders = file.path.relative_to(root.absolute()).parts[:-1]
    expected = [file.participant] + ([f"ses-{file.session}"] if file.session else [])
    if list(folders[: len(expected)]) != expected:
        raise ScanExcluded(
            f"{file.path}: the name gives {'/'.join(expected)}, the folder {'/'.join(folders)}; "
            "find out whose scan it is and rename it",
            "index",
        )


class Sidecars:
    """JSON sidecars of a data set, merged by the inheritance principle.

    `bids2table.load_bids_metadata` does the same, but skips damaged JSON in silence, merges
    several sidecars of one folder in directory order, and loses the data set's root behind a
    linked participant folder; results must not depend on any of these.

    Parameters
    ----------
    root : Path
        Folder of the data set, where inheritance ends.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._folders: dict[tuple[Path, str], list[tuple[Path, dict[str, str]]]] = {}
        self._shared: dict[Path, dict[str, Any]] = {}

    def of(self, file: File) -> dict[str, Any]:
        """Metadata of a file: the folder nearest to it wins, in a folder the most specific name.

        Raises
        ------
        ScanExcluded
            If a sidecar that applies is not a JSON object.
        """
        metadata: dict[str, Any] = {}
        parts = file.path.parent.relative_to(self.root).parts
        for depth in range(len(parts) + 1):
            folder = self.root.joinpath(*parts[:depth])
            for path, entities in self._candidates(folder, file.entities["suffix"]):
                if entities.items() <= file.entities.items():
                    metadata |= self._load(path, shared=depth == 0)
        return metadata

    def _candidates(self, folder: Path, suffix: str) -> list[tuple[Path, dict[str, str]]]:
        if (folder, suffix) not in self._folders:
            found = []
            for path in folder.glob(f"*{suffix}.json"):
                entities = bids2table.parse_bids_entities(path)
                if entities.pop("suffix", None) == suffix:
                    entities.pop("datatype", None)
                    entities.pop("ext", None)
                    found.append((path, entities))
            found.sort(key=lambda f: (len(f[1]), f[0].name))
            self._folders[folder, suffix] = found
        return self._folders[folder, suffix]

    def _load(self, path: Path, shared: bool) -> dict[str, Any]:
        if path in self._shared:
            return self._shared[path]
        try:
            content = read_object(path)
        except FileError as error:
            raise ScanExcluded(f"unreadable sidecar: {error}", "sidecar") from None
        if shared:  # of the complete data set; those of a participant are read once anyway
            self._shared[path] = content
        return content
