"""Fingerprints of input files: path, size and modification time, never content.

A data set is walked once when the Snakefile is read. A file belongs to the participant named in its
path, and so to a batch; a file without a participant belongs to all batches. The rules have the
fingerprints as ``params``, so that Snakemake repeats what depends on a changed, added or deleted
file. Any difference counts, including an older modification time. For links the target is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from brainmass_core.config import Dataset
from brainmass_core.config.base import ALMOST_BOLD
from brainmass_core.pipeline.hashing import batch_of

READERS = 8  # threads, because network storage has a high latency
DEEPEST = 4  # maximum depth below a participant's folder, which also ends loops of links
EXTENSIONS = (".nii.gz", ".nii", ".json", ".tsv", ".1D")
WRITTEN = ".brainmass_written.json"  # in a synthetic data set: its state after writing
WRITTEN_TABLE = ".brainmass_written.tsv"  # a copy of its participants.tsv
AS_WRITTEN = "as written"

# entities in which several files of one run differ
ONE_RUN = re.compile(r"_(?:space|res|desc|echo|part|den|cohort)-[^_]+")

Reads = Callable[[str, str], bool]


@dataclass(frozen=True)
class Inputs:
    """Fingerprints of the inputs of a data set.

    Attributes
    ----------
    people : dict
        Participant, as in the scans table, to the fingerprint of the participant's files.
    shared : str
        Fingerprint of the files that affect every scan, such as ``task-rest_bold.json``.
    scanned : frozenset of str
        Participants with at least one BOLD run or series.
    listing : str
        Fingerprint of inputs that only affect the list of scans.
    several : bool
        Whether a shared file may contain scans of participants who are not named in paths.
    n_scans : int
        BOLD runs, in how many spaces and echoes whatever, or series; without the arrays of ``.npz``
        files.
    """

    people: Mapping[str, str]
    shared: str = ""
    scanned: frozenset[str] = field(default_factory=frozenset)
    listing: str = ""
    several: bool = False
    n_scans: int = 0

    def batches(self, dataset: str, n: int) -> list[str]:
        """Fingerprint of the inputs of each of `n` batches."""
        members: list[list[str]] = [[] for _ in range(n)]
        for who in sorted(self.people):
            members[batch_of(dataset, who, n)].append(f"{who}\x1f{self.people[who]}")
        return [digest([self.shared, *lines]) for lines in members]

    def all(self) -> str:
        """Fingerprint of everything."""
        people = [f"{who}\x1f{self.people[who]}" for who in sorted(self.people)]
        return digest([self.shared, self.listing, *people])


def digest(lines: Iterable[str]) -> str:
    """16 hexadecimal digits of texts in their order."""
    found = hashlib.sha256()
    for line in lines:
        found.update(line.encode("utf-8", "surrogateescape") + b"\0")
    return found.hexdigest()[:16]


def state(path: Path | str | None) -> str:
    """Size and modification time of a file or of the target of a link; empty without a path."""
    if path is None:
        return ""
    try:
        found = os.stat(path)
    except OSError:
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"


def states(paths: Iterable[Path | None]) -> str:
    """Fingerprint of single files: their paths and states."""
    return digest(f"{path}\x1f{state(path)}" for path in paths)


def inputs_of(name: str, dataset: Dataset) -> Inputs:
    """Walk a data set.

    Parameters
    ----------
    name : str
        Name of the data set, for messages of the phenotype table's reader.

    Returns
    -------
    Inputs
        A missing folder of synthetic data has the fingerprint that `remember` will store.
    """
    if dataset.kind == "timeseries":
        return _of_series(name, dataset)
    found = _of_bids(dataset.path, read_in_raw if dataset.kind == "bids" else read_in_derivatives)
    return _unless_as_written(found, dataset.path) if dataset.synthetic else found


# --- BIDS ----------------------------------------------------------------------------------------


def read_in_raw(folder: str, name: str) -> bool:
    """Whether a file of a raw data set is read, by the names of its folder and its own."""
    suffix, extension = _parts(name)
    if extension not in (".nii.gz", ".nii", ".json"):
        return _almost_bold(suffix, extension)
    if folder == "fmap" or suffix in ("bold", "epi", "fieldmap") or _almost_bold(suffix, extension):
        return True
    if suffix.startswith(("phase", "magnitude")):
        return True
    return suffix == "T1w" and extension != ".json"


def read_in_derivatives(folder: str, name: str) -> bool:
    """Whether a file of a folder of derivatives is read: BOLD, masks, confounds."""
    suffix, extension = _parts(name)
    if _almost_bold(suffix, extension):
        return True
    if suffix in ("bold", "mask"):
        return extension == ".json" if suffix == "bold" else extension in (".nii.gz", ".nii")
    return extension == ".1D" or (suffix in ("timeseries", "regressors") and extension == ".tsv")


def _parts(name: str) -> tuple[str, str]:
    n = next((len(e) for e in EXTENSIONS if name.lower().endswith(e.lower())), 0)
    return name[: len(name) - n].rpartition("_")[2], name[len(name) - n :]


def _almost_bold(suffix: str, extension: str) -> bool:
    """Whether an image is a BOLD run, including misspelt names, which are excluded scans."""
    return extension.lower() in (".nii.gz", ".nii") and bool(ALMOST_BOLD.fullmatch(suffix))


def _of_bids(root: Path, reads: Reads) -> Inputs:
    shared, folders, broken = [], [], []
    for entry in _entries(str(root)):
        if entry.name.startswith("sub-") and entry.is_dir():
            folders.append(entry)
        elif reads("", entry.name):
            shared.append(f"{entry.name}\x1f{state(entry.path)}")
        elif entry.name.startswith("sub-") and entry.is_symlink() and "." not in entry.name:
            broken.append(entry.name)  # a link instead of a participant's folder
    with ThreadPoolExecutor(READERS) as pool:
        # one task per participant would cost more than the walk
        chunks = [folders[i : i + 256] for i in range(0, len(folders), 256)]
        walked = list(pool.map(lambda part: [_of_participant(e.path, reads) for e in part], chunks))
    found = dict(zip((e.name for e in folders), (w for part in walked for w in part), strict=True))
    return Inputs(
        {who: text for who, (text, _) in found.items() if text},
        digest(sorted(shared)),
        frozenset(who for who, (_, n_runs) in found.items() if n_runs),
        state(root / "dataset_description.json") + (digest(sorted(broken)) if broken else ""),
        n_scans=sum(n_runs for _, n_runs in found.values()),
    )


def _of_participant(folder: str, reads: Reads) -> tuple[str, int]:
    """Fingerprint of the input files of a participant, and the number of BOLD runs."""
    lines, runs = [], set()
    left = [(folder, "", "")]
    while left:
        path, below, name = left.pop()
        for entry in _entries(path):
            if reads(name, entry.name):
                lines.append(f"{below}{entry.name}\x1f{_state_of(entry)}")
                if "_bold.nii" in entry.name:
                    runs.add(below + ONE_RUN.sub("", entry.name))
            elif below.count("/") < DEEPEST and entry.is_dir():
                left.append((entry.path, f"{below}{entry.name}/", entry.name))
    return (digest(sorted(lines)) if lines else ""), len(runs)


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """Entries of a folder; empty if it cannot be read, which the stage itself will report."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _state_of(entry: os.DirEntry[str]) -> str:
    try:
        found = entry.stat()
    except OSError:
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"


# --- synthetic data, which are written after the Snakefile was read ------------------------------


def remember(folder: Path) -> None:
    """Store the state of a synthetic data set, so that only later changes count."""
    found = _of_bids(folder, read_in_raw)
    about = {"people": found.people, "shared": found.shared, "scanned": sorted(found.scanned)}
    (folder / WRITTEN).write_text(json.dumps(about), encoding="utf-8")
    shutil.copy2(folder / "participants.tsv", folder / WRITTEN_TABLE)


def _unless_as_written(found: Inputs, folder: Path) -> Inputs:
    """Replace fingerprints of files that have not changed since they were written.

    The data do not exist when the first run begins, and its results must remain valid afterwards.
    """
    if not found.people:
        return Inputs({}, AS_WRITTEN)
    try:
        left = json.loads((folder / WRITTEN).read_text(encoding="utf-8"))
        people, shared, scanned = dict(left["people"]), left["shared"], set(left["scanned"])
    except (OSError, ValueError, KeyError, TypeError):
        return found
    gone = {who: "deleted" for who in people if who not in found.people}
    changed = {who: t for who, t in found.people.items() if people.get(who) != t} | gone
    return Inputs(
        changed,
        AS_WRITTEN if shared == found.shared else found.shared,
        frozenset() if scanned == found.scanned else found.scanned,
    )


# --- ready series --------------------------------------------------------------------------------


def _of_series(name: str, dataset: Dataset) -> Inputs:
    """Files by participant; an ``.npz`` file may contain arrays of many and affects all."""
    # imported late, because it loads pandas
    from brainmass_core.scans.timeseries import matching_files, named_in, sidecar_of

    owner = _owners(name, dataset)
    people: dict[str, list[str]] = {}
    shared: list[str] = []
    n_scans = 0
    for path in matching_files(dataset):
        line = f"{path}\x1f{state(path)}"
        if (beside := state(sidecar_of(path))) != "missing":
            line += f"\x1f{beside}"
        if path.suffix == ".npz":
            shared.append(line)
            continue
        n_scans += 1
        people.setdefault(owner(named_in(path)), []).append(line)
    found = {who: digest(sorted(lines)) for who, lines in people.items()}
    listed, several = digest(sorted(shared)), bool(shared)
    return Inputs(found, listed, frozenset(found), several=several, n_scans=n_scans)


def _owners(name: str, dataset: Dataset) -> Callable[[str], str]:
    """Function from the name of a scan to its participant as in the scans table."""
    from brainmass_core.scans.phenotype import canonical
    from brainmass_core.scans.timeseries import participant_of

    column, who = dataset.phenotype.scan_column, dataset.phenotype.id_column
    if column is None:
        return participant_of
    rows = phenotype_rows(name, dataset, [column, who])
    known = {canonical(scan): person for scan, person in rows if scan and person}
    return lambda label: known.get(canonical(label), participant_of(label))


def phenotype_rows(name: str, dataset: Dataset, columns: list[str]) -> list[tuple[str | None, ...]]:
    """Rows of the phenotype table; empty if it cannot be read, which `scans` will report."""
    from brainmass_core.scans.phenotype import read_phenotype

    try:
        table = read_phenotype(name, dataset)
    except ValueError:
        return []
    if table is None or not set(columns) <= set(table.columns):
        return []
    return [tuple(row) for row in table[columns].itertuples(index=False, name=None)]
