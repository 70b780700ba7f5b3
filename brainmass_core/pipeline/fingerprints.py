"""What the stages read, as fingerprints: path, size and time of change of files, never content.

A data set is walked once when the Snakefile is read. A file belongs to the participant whom its
path names, and so to a batch; a file of nobody belongs to all batches. The rules carry the
fingerprints as ``params``, so that Snakemake makes again what a changed, added or deleted file
concerns. Any difference counts, an older file in place of a newer one as well. Links count as
what they lead to.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from brainmass_core.config import Dataset
from brainmass_core.config.base import ALMOST_BOLD
from brainmass_core.pipeline.hashing import batch_of

READERS = 8  # threads that wait for a network storage
DEEPEST = 4  # folders below a participant's; a loop of links ends there
EXTENSIONS = (".nii.gz", ".nii", ".json", ".tsv", ".1D")
WRITTEN = ".brainmass_written.json"  # beside a synthetic data set: how it was left
WRITTEN_TABLE = ".brainmass_written.tsv"  # a copy of its participants.tsv
AS_WRITTEN = "as written"
LARGEST_TABLE = 50_000_000  # bytes; of a larger phenotype table any change counts

Reads = Callable[[str, str], bool]


@dataclass(frozen=True)
class Inputs:
    """The state of what is read of a data set.

    Attributes
    ----------
    people : dict
        Participant, as in the scans table, to the fingerprint of the files that are theirs.
    shared : str
        Fingerprint of the files that concern every scan, such as ``task-rest_bold.json``.
    scanned : frozenset of str
        Participants with at least one BOLD run or series.
    listing : str
        Fingerprint of what only the list of the scans depends on.
    several : bool
        Whether a shared file may hold scans of people whom no path names.
    """

    people: Mapping[str, str]
    shared: str = ""
    scanned: frozenset[str] = field(default_factory=frozenset)
    listing: str = ""
    several: bool = False

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
    """Size and time of change of a file, of what a link leads to; empty without a path."""
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
        Of the data set, for messages of the phenotype table's reader.

    Returns
    -------
    Inputs
        A folder that is not there, of synthetic data, counts as what `remember` would remember.
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
    """Whether an image is a BOLD run, or none by a slip, which is an excluded scan."""
    return extension.lower() in (".nii.gz", ".nii") and bool(ALMOST_BOLD.fullmatch(suffix))


def _of_bids(root: Path, reads: Reads) -> Inputs:
    shared, folders, broken = [], [], []
    for entry in _entries(str(root)):
        if entry.name.startswith("sub-") and entry.is_dir():
            folders.append(entry)
        elif reads("", entry.name):
            shared.append(f"{entry.name}\x1f{state(entry.path)}")
        elif entry.name.startswith("sub-") and entry.is_symlink() and "." not in entry.name:
            broken.append(entry.name)  # in place of a participant's folder
    with ThreadPoolExecutor(READERS) as pool:
        # a task of its own for each participant would cost more than its walk
        chunks = [folders[i : i + 256] for i in range(0, len(folders), 256)]
        walked = list(pool.map(lambda part: [_of_participant(e.path, reads) for e in part], chunks))
    found = dict(zip((e.name for e in folders), (w for part in walked for w in part), strict=True))
    return Inputs(
        {who: text for who, (text, _) in found.items() if text},
        digest(sorted(shared)),
        frozenset(who for who, (_, scanned) in found.items() if scanned),
        state(root / "dataset_description.json") + (digest(sorted(broken)) if broken else ""),
    )


def _of_participant(folder: str, reads: Reads) -> tuple[str, bool]:
    """Fingerprint of the files of a participant that are read, and whether a BOLD run is there."""
    lines, scanned = [], False
    left = [(folder, "", "")]
    while left:
        path, below, name = left.pop()
        for entry in _entries(path):
            if reads(name, entry.name):
                lines.append(f"{below}{entry.name}\x1f{_state_of(entry)}")
                scanned |= "_bold.nii" in entry.name
            elif below.count("/") < DEEPEST and entry.is_dir():
                left.append((entry.path, f"{below}{entry.name}/", entry.name))
    return (digest(sorted(lines)) if lines else ""), scanned


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder; nothing where it cannot be read, which the stage itself will say."""
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
    """Write how a synthetic data set was left, so that only what is changed later counts."""
    found = _of_bids(folder, read_in_raw)
    about = {"people": found.people, "shared": found.shared, "scanned": sorted(found.scanned)}
    (folder / WRITTEN).write_text(json.dumps(about), encoding="utf-8")
    shutil.copy2(folder / "participants.tsv", folder / WRITTEN_TABLE)


def _unless_as_written(found: Inputs, folder: Path) -> Inputs:
    """The same, where what was not changed since it was written has no fingerprint of its own.

    When the first run begins the data are not there, and its results must not look old afterwards.
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
    """Files by participant; an ``.npz`` file may hold arrays of many and concerns everybody."""
    # pandas: only if needed
    from brainmass_core.scans.timeseries import matching_files, named_in, sidecar_of

    owner = _owners(name, dataset)
    people: dict[str, list[str]] = {}
    shared: list[str] = []
    for path in matching_files(dataset):
        line = f"{path}\x1f{state(path)}"
        if (beside := state(sidecar_of(path))) != "missing":
            line += f"\x1f{beside}"
        if path.suffix == ".npz":
            shared.append(line)
            continue
        people.setdefault(owner(named_in(path)), []).append(line)
    found = {who: digest(sorted(lines)) for who, lines in people.items()}
    return Inputs(found, digest(sorted(shared)), frozenset(found), several=bool(shared))


def _owners(name: str, dataset: Dataset) -> Callable[[str], str]:
    """From the name of a scan to its participant, as the scans table has it."""
    from brainmass_core.scans.phenotype import canonical
    from brainmass_core.scans.timeseries import participant_of

    column, who = dataset.phenotype.scan_column, dataset.phenotype.id_column
    if column is None:
        return participant_of
    rows = _table(name, dataset, [column, who])
    known = {canonical(scan): person for scan, person in rows if scan and person}
    return lambda label: known.get(canonical(label), participant_of(label))


# --- phenotypes ----------------------------------------------------------------------------------


def table_state(dataset: Dataset) -> str:
    """State of the phenotype table; of one that was just written, as if it were to be written."""
    path, left = dataset.phenotype.path, dataset.path / WRITTEN_TABLE
    if path is not None:
        return state(path)
    found = state(dataset.path / "participants.tsv")
    untouched = found == "missing" or (left.exists() and found == state(left))
    return AS_WRITTEN if dataset.synthetic and untouched else found


def phenotypes(name: str, dataset: Dataset, columns: Iterable[str | None]) -> dict[str, str]:
    """Participant, in the form in which ids are compared, to the values in some columns.

    Empty without such a column. Where the table cannot be read or is very large, the state of the
    table is taken in place of its content, under the name ``*``. Of synthetic data only rows that
    were changed since they were written count.
    """
    columns, left = list(columns), dataset.path / WRITTEN_TABLE
    found = _phenotypes(name, dataset, columns)
    if dataset.synthetic is None or dataset.phenotype.path is not None or not left.exists():
        return found
    table = dataset.phenotype.model_copy(update={"path": left})
    before = _phenotypes(name, dataset.model_copy(update={"phenotype": table}), columns)
    gone = {who: "deleted" for who in before if who not in found}
    return {who: text for who, text in found.items() if before.get(who) != text} | gone


def _phenotypes(name: str, dataset: Dataset, columns: list[str | None]) -> dict[str, str]:
    from brainmass_core.scans.phenotype import canonical, phenotype_path

    wanted = [c for c in dict.fromkeys(columns) if c is not None]
    path = phenotype_path(dataset)
    if not wanted or path is None:
        return {}
    settings = dataset.phenotype
    keys = [settings.id_column, *([settings.scan_column] if settings.scan_column else [])]
    if path.exists() and path.stat().st_size > LARGEST_TABLE:
        return {"*": state(path)}
    rows = _table(name, dataset, [*keys, *wanted])
    if not rows:
        return {"*": state(path)}
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(canonical(row[0] or ""), []).append("\x1f".join(v or "" for v in row))
    return {who: digest(sorted(lines)) for who, lines in found.items()}


def with_phenotypes(inputs: Inputs, rows: Mapping[str, str]) -> Inputs:
    """The inputs, where what `phenotypes` found of a participant counts as theirs."""
    from brainmass_core.scans.phenotype import canonical

    if not rows:
        return inputs
    everybody = inputs.several or "*" in rows
    shared = [inputs.shared, *(f"{w}\x1f{rows[w]}" for w in sorted(rows))] if everybody else []
    return replace(
        inputs,
        people={w: digest([t, rows.get(canonical(w), "")]) for w, t in inputs.people.items()},
        shared=digest(shared) if everybody else inputs.shared,
    )


def _table(name: str, dataset: Dataset, columns: list[str]) -> list[tuple[str | None, ...]]:
    """Rows of the phenotype table; none if it cannot be read, which `scans` will say."""
    from brainmass_core.scans.phenotype import read_phenotype

    try:
        table = read_phenotype(name, dataset)
    except ValueError:
        return []
    if table is None or not set(columns) <= set(table.columns):
        return []
    return [tuple(row) for row in table[columns].itertuples(index=False, name=None)]
