"""Look at a folder of images: raw BIDS or derivatives."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Literal

from brainmass_core.config.costs import default_batches
from brainmass_core.draft.found import DraftError, Found, Setting, counted
from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.scans.image import read_header
from brainmass_core.scans.index import File, Sidecars, index_files

N_SIDECARS = 200  # runs whose repetition time is looked up
TABLE = "participants.tsv"


def look_at_images(root: Path, kind: Literal["bids", "derivatives"]) -> Found:
    """What a BIDS folder or one of derivatives has, from names and sidecars.

    Raises
    ------
    DraftError
        If there is no run.
    """
    files = index_files(root)
    bold = [f for f in files if f.named("bold") and f.entities.get("datatype") == "func"]
    derived = kind == "derivatives"
    bold = [f for f in bold if ("preproc" in f.entities.get("desc", "")) == derived]
    runs = {_run(f): f for f in bold}
    if not runs:
        raise DraftError(f"{root}: found no BOLD run of kind {kind}; correct the path")
    settings = {"path": Setting(str(root))}
    remarks: list[str] = []
    _task(list(runs.values()), settings, remarks)
    sessions = Counter(f.session for f in runs.values() if f.session)
    if sessions:
        remarks.append(
            f"sessions: {counted(dict(sorted(sessions.items())), ' runs')}; `sessions: [...]` "
            "keeps some of them"
        )
    if derived:
        _spaces(bold, remarks)
    else:
        _t1w(files, settings)
    remarks.append(_repetition_times(root, list(runs.values())))
    n = len(runs)
    settings["batches"] = Setting(default_batches(kind, n), f"jobs per stage, from {n:,} runs")
    people = sorted({f.participant for f in bold})
    places = [root, root.parent, root.parent.parent] if derived else [root]
    tables = [p / TABLE for p in places if (p / TABLE).is_file()]
    return Found(kind, n, settings, people, tables, tuple(remarks))


def _run(file: File) -> tuple[str, ...]:
    """What names a run, whatever its space, resolution and echo."""
    left = ("sub", "ses", "task", "acq", "ce", "dir", "rec", "run")
    return tuple(file.entities.get(key, "") for key in left)


def _task(runs: list[File], settings: dict[str, Setting], remarks: list[str]) -> None:
    tasks = Counter(f.entities.get("task", "") for f in runs)
    if len(tasks) == 1:
        remarks.append(f"task: all runs are of {next(iter(tasks))}")
        return
    resting = [t for t in tasks if "rest" in t.lower()]
    chosen = max(resting or tasks, key=lambda t: (tasks[t], t))
    found = counted(dict(tasks.most_common()), " runs")
    settings["task"] = Setting(
        chosen, question=f"which task? found {found}; without this line runs of all are used"
    )


def _spaces(bold: list[File], remarks: list[str]) -> None:
    spaces = Counter(f.entities.get("space", "native") for f in bold)
    found = counted(dict(spaces.most_common()), " files")
    remarks.append(f"spaces: {found}; that of the atlas is used if it is there")
    if not any(_is_template(space) for space in spaces):
        remarks.append(
            "? none of these is a template space: let the pipeline write MNI152NLin2009cAsym or "
            "MNI152NLin6Asym, otherwise all runs are excluded"
        )


def _is_template(space: str) -> bool:
    return space == "template" or space.startswith("MNI")


def _t1w(files: list[File], settings: dict[str, Setting]) -> None:
    images = defaultdict(list)
    for file in files:
        if file.named("T1w") and file.entities.get("datatype") == "anat":
            images[file.participant, file.session].append(file)
    several = [key for key, found in images.items() if len(found) > 1]
    if several:
        who = several[0][0]
        settings["t1w"] = Setting(
            "first",
            question=f"{who} and {len(several) - 1} others have several T1w images: first or last?",
        )


def _repetition_times(root: Path, runs: list[File]) -> str:
    """A remark on the repetition times of runs, from sidecars, otherwise from headers."""
    sidecars = Sidecars(root)
    step = max(1, len(runs) // N_SIDECARS)
    found: Counter[str] = Counter()
    for file in runs[::step]:
        try:
            t_r = sidecars.of(file).get("RepetitionTime")
            header = "" if t_r is not None else read_header(file.path).t_r_text
            found[f"{t_r:g} s in sidecars" if not header else f"{header} in headers"] += 1
        except (ScanExcluded, TypeError, ValueError):
            found["unreadable"] += 1
    of = "" if step == 1 else f", of one run in {step}"
    return f"repetition times: {counted(dict(found.most_common()), ' runs')}{of}"
