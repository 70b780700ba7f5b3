"""Look at a folder of parcel series."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from brainmass_core.config.costs import default_batches
from brainmass_core.draft.found import DraftError, Found, Setting
from brainmass_core.readers.series import SUFFIXES, SeriesError, series_shapes, series_suffix
from brainmass_core.scans.timeseries import named_in

ARRAYS = (".npz", ".npy", ".1D", ".1D.gz")  # never a phenotype table
TABLES = (".csv", ".tsv")
N_FILES = 40  # whose shapes are read
ATLASES = ("cc200", "cc400", "aal", "ho", "ez", "tt", "dosenbach160", "a424", "schaefer100")
UNFILTERED = re.compile(r"no_?filt|unfiltered", re.IGNORECASE)
FILTERED = re.compile(r"(?<!no)(?<!no_)filt|bandpass", re.IGNORECASE)


def look_at_series(root: Path) -> Found:
    """What a folder of series has: names of scans, axes, number of parcels.

    Raises
    ------
    DraftError
        If there is no series.
    """
    files, where, pattern = _files(root)
    shapes, names = _shapes(files)
    if not shapes:
        raise DraftError(
            f"{root}: none of {len(files)} files is a readable series; correct the path"
        )
    settings = {"path": Setting(str(where)), "pattern": Setting(pattern, f"{len(files):,} files")}
    axes, n_rois, questions = _axes(shapes)
    settings["orientation"] = axes
    settings["band_pass"] = _band_pass(where)
    n = len(names)
    settings["batches"] = Setting(default_batches("timeseries", n), f"jobs per stage, {n:,} scans")
    places = dict.fromkeys([where, root, where.parent])
    tables = [p for place in places for p in _tables(place) if p not in files]
    return Found("timeseries", n, settings, names, tables, questions, _atlas(where, n_rois))


def _files(root: Path) -> tuple[list[Path], Path, str]:
    """Files of the most frequent kind, the folder that contains them, and a pattern."""
    there = sorted(p for p in root.rglob("*") if series_suffix(p) and p.is_file())
    arrays = [p for p in there if p.name.endswith(ARRAYS)]
    groups: dict[tuple[str, ...], list[Path]] = {}
    for path in arrays or there:
        groups.setdefault((_ending(path),), []).append(path)
    if not groups:
        raise DraftError(f"{root}: found no series; expected files {', '.join(SUFFIXES)}")
    (ending,), files = max(groups.items(), key=lambda group: len(group[1]))
    folders = {p.parent for p in files}
    if len(folders) == 1:
        return files, files[0].parent, f"*{ending}"
    return files, root, f"**/*{ending}"


def _ending(path: Path) -> str:
    """What names of the same kind have in common: suffix, and of BIDS names what it is."""
    suffix = str(series_suffix(path))
    stem = path.name.removesuffix(suffix)
    return f"_{stem.rpartition('_')[2]}{suffix}" if stem.startswith("sub-") else suffix


def _shapes(files: list[Path]) -> tuple[list[tuple[int, ...]], list[str]]:
    """Shapes as stored of some files, and the names of all scans."""
    shapes, names = [], []
    for i, path in enumerate(files):
        if i >= N_FILES and path.suffix != ".npz":
            names.append(named_in(path))
            continue
        try:
            found = series_shapes(path, "time_by_roi")
        except SeriesError:
            continue
        usable = {key: shape for key, shape in found.items() if not isinstance(shape, SeriesError)}
        shapes += list(usable.values())
        several = len(found) > 1
        names += [str(key) if several and key else named_in(path) for key in found]
    return shapes, names


def _axes(shapes: list[tuple[int, ...]]) -> tuple[Setting, int, tuple[str, ...]]:
    """Orientation, number of parcels, questions: only the number of parcels is always the same."""
    rows, columns = (Counter(s[i] for s in shapes) for i in (0, 1))
    example = f"arrays such as {shapes[0][0]} x {shapes[0][1]}"
    if len(columns) == 1 and len(rows) > 1:
        setting = Setting("time_by_roi", f"{example}: only their rows differ in number")
        return setting, next(iter(columns)), ()
    if len(rows) == 1 and len(columns) > 1:
        setting = Setting("roi_by_time", f"{example}: only their columns differ in number")
        return setting, next(iter(rows)), ()
    n_rois = columns.most_common(1)[0][0]
    question = f"is a row a timepoint? {example}"
    if len(columns) == 1:
        return Setting("time_by_roi", question=question), n_rois, ()
    others = sum(columns.values()) - columns[n_rois]
    more = f"? {others} of {len(shapes)} series do not have {n_rois} columns; they will fail"
    return Setting("time_by_roi", question=question), n_rois, (more,)


def _band_pass(where: Path) -> Setting:
    name = where.name
    if UNFILTERED.search(name):
        return Setting(True, question=f"filter them? the folder is called {name}")
    if FILTERED.search(name):
        return Setting(False, question=f"are they filtered? the folder is called {name}")
    return Setting(False, question="are the series already band-passed? If not, write true")


def _atlas(where: Path, n_rois: int) -> dict[str, Setting]:
    words = re.split(r"[^a-z0-9]+", where.name.lower())
    known = next((a for a in ATLASES if a in words), None)
    question = "which atlas? the name is written to every result"
    note = f"the folder is called {where.name}"
    name = Setting(known.upper(), note) if known else Setting("parcels", question=question)
    return {"name": name, "n_rois": Setting(n_rois)}


def _tables(folder: Path) -> list[Path]:
    found = [p for p in folder.iterdir() if p.name.endswith(TABLES) and p.is_file()]
    return sorted(found, key=lambda p: (not p.name.startswith("participants"), p.name))
