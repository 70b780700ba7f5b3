"""A generated cohort of 30 data sets, with up to 70,781 scans as in the paper on BrainMass.

Series are files with real bytes (float32, 100 regions), in the three forms that data sets come in:
one file per scan, nested folders, one archive for all. No scan depends on the size of the cohort,
except for the number of scans per data set.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

N_ROIS, FULL = 100, 70_781
N_SHARED = 12  # signals that all regions share
T_R = 2.0
FEW = (0, 1, 2, 4, 9, 21, 22, 26)
COLUMNS = ("participant_id", "site", "age", "sex", "diagnosis", "mean_fd")


@dataclass(frozen=True)
class Dataset:
    """One data set: its share of the scans, scans per participant, and timepoints of a scan."""

    name: str
    role: str
    weight: float
    per_participant: int
    n_timepoints: int
    form: str = "files"  # or "folders", "archive"


def datasets(few: bool = False) -> list[Dataset]:
    """Twenty data sets to pre-train on, six with diagnoses, four that only test.

    Eight of them, with all roles and forms, if `few`: small cohorts then consist less of the
    start-up of jobs.
    """
    forms = {4: "folders", 9: "archive", 26: "archive"}
    found = []
    for i in range(30):
        role = "pretrain" if i < 20 else "internal" if i < 26 else "external"
        weight = 0.82 ** (i % 20) if i < 26 else 0.02
        sizes = (2 if i % 3 == 0 else 1, 150 + 10 * (i % 6))
        found.append(Dataset(f"set{i:02}", role, weight, *sizes, forms.get(i, "files")))
    return [found[i] for i in FEW] if few else found


def counts(n_scans: int, few: bool = False) -> dict[str, int]:
    """Scans per data set, at least 8 in each, together `n_scans`."""
    known = datasets(few)
    total = sum(d.weight for d in known)
    found = {d.name: max(8, int(n_scans * d.weight / total)) for d in known}
    found[known[0].name] += n_scans - sum(found.values())
    if found[known[0].name] < 8:
        raise SystemExit(f"--scans {n_scans}: expected at least {20 * len(known)}")
    return found


def series(seed: int, number: int, n_timepoints: int) -> np.ndarray:
    """Series (n_timepoints, N_ROIS), correlated in space and time."""
    rng = np.random.default_rng([seed, number])
    noise = rng.standard_normal((n_timepoints + 1, N_ROIS + N_SHARED), dtype=np.float32)
    smooth = noise[1:] + 0.6 * noise[:-1]
    mixing = np.random.default_rng(1).standard_normal((N_SHARED, N_ROIS)).astype(np.float32)
    return smooth[:, :N_ROIS] + 0.6 * smooth[:, N_ROIS:] @ mixing


def labels(dataset: Dataset, n_scans: int) -> Iterator[tuple[str, str]]:
    """Participant and name of each scan."""
    for k in range(n_scans):
        participant = f"sub-{dataset.name.upper()}{k // dataset.per_participant:05d}"
        run = k % dataset.per_participant + 1
        yield participant, f"{participant}_task-rest_run-{run}"


def write_dataset(folder: Path, dataset: Dataset, n_scans: int) -> None:
    """Write the series and the phenotypes of one data set."""
    folder.mkdir(parents=True)
    number = int(dataset.name.removeprefix("set"))
    arrays, rng, rows = {}, np.random.default_rng([7, number]), {}
    for k, (participant, label) in enumerate(labels(dataset, n_scans)):
        found = series(number, k, dataset.n_timepoints)
        if dataset.form == "archive":
            arrays[label] = found
        else:
            nested = folder / participant / "func" if dataset.form == "folders" else folder
            nested.mkdir(parents=True, exist_ok=True)
            np.save(nested / f"{label}.npy", found)
        diagnosis = ("control", "patient")[int(rng.integers(2))]
        site, age = f"site{rng.integers(1, 5)}", round(float(rng.uniform(8, 80)), 1)
        row = (participant, site, age, "FM"[int(rng.integers(2))], diagnosis)
        rows.setdefault(participant, (*row, round(float(rng.gamma(4, 0.03)), 3)))
    if arrays:
        np.savez(folder / "all.npz", **arrays)
    write_phenotypes(folder.with_suffix(".csv"), list(COLUMNS), [list(r) for r in rows.values()])


def write_phenotypes(file: Path, header: list[str], rows: list[list]) -> None:
    """Write a table of phenotypes."""
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def read_phenotypes(file: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of phenotypes."""
    with file.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    return header, rows


def configuration(
    folder: Path, n_scans: int, per_batch: int | None = None, few: bool = False
) -> dict:
    """The study's configuration, as plain values; `brainmass` chooses batches if not given."""
    sizes, found = counts(n_scans, few), {}
    for i, dataset in enumerate(datasets(few)):
        pattern = {"archive": "*.npz", "folders": "**/*.npy", "files": "*.npy"}[dataset.form]
        columns = {"site": "site", "age": "age", "sex": "sex", "mean_fd": "mean_fd"}
        phenotype = {"path": str(folder / "data" / f"{dataset.name}.csv")}
        phenotype |= {f"{name}_column": column for name, column in columns.items()}
        found[dataset.name] = {
            "kind": "timeseries",
            "role": dataset.role,
            "path": str(folder / "data" / dataset.name),
            "pattern": pattern,
            "t_r": T_R,
            "band_pass": bool(i % 2),
            "phenotype": phenotype,
        }
        if per_batch is not None:
            found[dataset.name]["batches"] = max(1, round(sizes[dataset.name] / per_batch))
        if dataset.role == "internal":
            found[dataset.name]["stratify_by"] = "diagnosis"
    tested = [d.name for d in datasets(few) if d.role != "pretrain"]
    classes = {"control": ["control"], "patient": ["patient"]}
    stages = ("timeseries", "connectivity", "pfc", "pretrain")
    return {
        "results": str(folder / "results"),
        "datasets": found,
        "tasks": {"diagnosis": {"datasets": tested, "label": "diagnosis", "classes": classes}},
        # as by default in a large study, so that costs of all sizes can be compared
        "timeseries": {"derivatives": False},
        "pretrain": {"size": "tiny", "epochs": 1, "checkpoint_steps": 20},
        "resources": {stage: {"cpus_per_task": 1} for stage in stages},
    }


def filtered_fraction(n_scans: int, few: bool = False) -> float:
    """Fraction of scans that `timeseries` filters: every second data set."""
    sizes = counts(n_scans, few)
    return sum(sizes[d.name] for i, d in enumerate(datasets(few)) if i % 2) / n_scans


def write_cohort(
    folder: Path, n_scans: int, per_batch: int | None = None, few: bool = False
) -> Path:
    """Write the data, unless they are there, and the configuration.

    Returns
    -------
    Path
        The configuration.
    """
    sizes = counts(n_scans, few)
    for dataset in datasets(few):
        target = folder / "data" / dataset.name
        if not target.with_suffix(".csv").exists():
            write_dataset(target, dataset, sizes[dataset.name])
    config = folder / "config.yaml"
    text = yaml.safe_dump(configuration(folder, n_scans, per_batch, few), sort_keys=False)
    config.write_text(text)
    return config
