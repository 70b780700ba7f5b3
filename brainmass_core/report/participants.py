"""Tables of participants: numbers, age, sex and quality, by class, site and data set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.config import Config
from brainmass_core.pipeline.failed_fraction import refused_datasets
from brainmass_core.pipeline.paths import Paths
from brainmass_core.report.names import QUALITY
from brainmass_core.tables import read_table


def summarise_cohort(cohort: pd.DataFrame, classes: Iterable[str]) -> list[dict[str, Any]]:
    """Participants of each class and of all classes: numbers, age, sex, motion.

    Parameters
    ----------
    cohort : DataFrame
        `tables.COHORT`.
    """
    used = cohort[cohort["used"]]
    groups = [(c, used[used["class_name"] == c]) for c in classes]
    return [_people(name, scans) for name, scans in [*groups, ("all", used)]]


def _people(name: str, scans: pd.DataFrame) -> dict[str, Any]:
    keys = ["dataset", "participant_id"]
    people = scans.drop_duplicates(keys)
    test = people["split"] == "test"
    sex = people["sex"].fillna("missing").value_counts().sort_index()
    return {
        "Class": name,
        "Participants": len(people),
        "kept for evaluation": int(test.sum()),
        "training only": int((~test).sum()),
        "Joined series" if "joined" in scans else "Scans": len(scans),
        "Sites": people["site"].nunique(),
        "Age (years), mean ± SD": _mean_sd(people["age"]),
        "Sex, as recorded": ", ".join(f"{k}: {v}" for k, v in sex.items()),
        "Mean FD (mm), median [IQR]": _median_iqr(scans["mean_fd"]),
    }


def count_sites(cohort: pd.DataFrame, classes: Iterable[str]) -> list[dict[str, Any]]:
    """Participants per data set and site, by class and by split.

    Parameters
    ----------
    cohort : DataFrame
        `tables.COHORT`.

    Returns
    -------
    list of dict
        One per site.
    """
    used = cohort[cohort["used"]].drop_duplicates(["dataset", "participant_id"])
    rows = []
    for (dataset, site), people in used.assign(site=used["site"].fillna("unknown")).groupby(
        ["dataset", "site"]
    ):
        counts = {c: int((people["class_name"] == c).sum()) for c in classes}
        test = int((people["split"] == "test").sum())
        rows.append({"Data set": dataset, "Site": site, **counts, "kept for evaluation": test})
    return rows


def describe_datasets(config: Config) -> list[dict[str, Any]]:
    """One row per configured data set; pre-training sees nobody of a refused one."""
    rows, refused = [], refused_datasets(config, "pretrain", config.datasets)
    for name, dataset in config.datasets.items():
        columns = ["participant_id", "split", "site", "age"]
        scans = read_table(Paths(config.results).scans(name), "scans", columns).to_pandas()
        people = scans.drop_duplicates("participant_id")
        split = people["split"].value_counts()
        seen = 0 if name in refused else int(split.get("pretrain", 0) + split.get("train", 0))
        rows.append(
            {
                "Data set": name + (" (synthetic)" if dataset.synthetic else ""),
                "Kind": dataset.kind,
                "Role": dataset.role,
                "Participants": len(people),
                "seen by pre-training": seen,
                "kept for evaluation": int(split.get("test", 0)),
                "Scans": len(scans),
                "Sites": people["site"].nunique(),
                "Age (years), mean ± SD": _mean_sd(people["age"]),
            }
        )
    return rows


def quality(config: Config, cohort: pd.DataFrame, classes: Iterable[str]) -> list[dict[str, Any]]:
    """Median and quartiles of every quality measure, by class.

    Parameters
    ----------
    cohort : DataFrame
        `tables.COHORT`.

    Returns
    -------
    list of dict
        One per measure that any scan has.
    """
    used = cohort[cohort["used"]]
    if "joined" in used:  # quality is measured on single runs
        used = used.explode("joined")
        used = used.assign(scan_id=used["joined"])
    measured = _read_quality(config, used)
    table = used[["scan_id", "class_name", "mean_fd"]].merge(measured, on="scan_id", how="left")
    rows = []
    for column, name in QUALITY.items():
        if column not in table or table[column].notna().sum() == 0:
            continue
        by_class = {c: _median_iqr(table.loc[table["class_name"] == c, column]) for c in classes}
        rows.append({"Measure": name, **by_class, "all": _median_iqr(table[column])})
    return rows


def _read_quality(config: Config, used: pd.DataFrame) -> pd.DataFrame:
    paths = Paths(config.results)
    measured = used[["scan_id"]]
    for stage in ("preprocess", "timeseries"):
        parts = []
        for dataset, batch in sorted(set(zip(used["dataset"], used["batch"], strict=True))):
            path = paths.batch(stage, dataset, int(batch))
            if path.exists():
                names = _numbers_of(stage)
                parts.append(read_table(path, stage, ["scan_id", *names]).to_pandas())
        if parts:
            measured = measured.merge(pd.concat(parts), on="scan_id", how="left")
    return measured


def _numbers_of(stage: str) -> list[str]:
    series = ["n_timepoints", "residual_dof", "n_empty_rois"]
    if stage == "timeseries":
        return series
    return [c for c in QUALITY if c not in (*series, "mean_fd")]


def choose_scans(cohort: pd.DataFrame, n: int) -> pd.DataFrame:
    """`n` used scans, evenly spread from the least to the most motion.

    Parameters
    ----------
    cohort : DataFrame
        `tables.COHORT`.

    Returns
    -------
    DataFrame
        At most `n` rows of `cohort`.
    """
    used = cohort[cohort["used"]].sort_values(["mean_fd", "scan_id"], ignore_index=True)
    places = np.unique(np.linspace(0, len(used) - 1, min(n, len(used))).round().astype(int))
    return used.iloc[places] if n and len(used) else used.iloc[:0]


def _mean_sd(values: pd.Series) -> str:
    known = values.dropna().astype(float)
    missing = f", {len(values) - len(known)} missing" if 0 < len(known) < len(values) else ""
    if known.empty:
        return "not known"
    spread = f" ± {known.std(ddof=1):.1f}" if len(known) > 1 else ""
    return f"{known.mean():.1f}{spread}{missing}"


def _median_iqr(values: pd.Series) -> str:
    known = values.dropna().astype(float)
    if known.empty:
        return "not known"
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    return f"{_short(middle)} [{_short(low)}, {_short(high)}]"


def _short(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.3g}"
