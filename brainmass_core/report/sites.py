"""Scores per site, from the predictions of every scan, for any protocol.

A score over all sites may come from a few sites, or from differences between sites. Scores within
sites avoid both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brainmass_core.auc import LEVEL as Z
from brainmass_core.auc import auc_influence, interval, standard_error
from brainmass_core.drawing import NotAvailableError, new_figure
from brainmass_core.report.cells import Cell, score, unscaled
from brainmass_core.report.names import colour_of, short_of

MIN_PER_CLASS = 5  # participants; for a regression MIN_PEOPLE in total
MIN_PEOPLE = 10
MAX_DRAWN = 30
UNKNOWN = "unknown"
METRICS = {"binary": ("auc", "accuracy"), "several": ("accuracy",), "regression": ("mae", "bias")}
TITLES = {"auc": "AUC", "accuracy": "Accuracy", "mae": "MAE", "bias": "Mean error"}


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a proportion of n (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return float(max(centre - half, 0)), float(min(centre + half, 1))


def site_results(predictions: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Scores of every method at every site where it is tested.

    Parameters
    ----------
    predictions : DataFrame
        `predictions.COLUMNS`.
    kind : str
        ``binary``, ``several`` or ``regression``.

    Returns
    -------
    DataFrame
        dataset, site, method, n_people, n_positive (with two classes), n_scans, `enough`, and each
        of `METRICS` with ``_low`` and ``_high``. The largest sites first.
    """
    table = predictions.assign(
        site=predictions["site"].astype(object).fillna(UNKNOWN),
        dataset=predictions["dataset"].astype(str),
    )
    rows = [
        {"dataset": dataset, "site": site, "method": method} | _one(here, kind)
        for (dataset, site, method), here in table.groupby(
            ["dataset", "site", "method"], observed=True, sort=True
        )
    ]
    found = pd.DataFrame(rows, columns=None if rows else ["dataset", "site", "method", "n_people"])
    order = ["n_people", "dataset", "site"]
    return found.sort_values(order, ascending=[False, True, True], ignore_index=True)


def _one(here: pd.DataFrame, kind: str) -> dict[str, Any]:
    who = here["participant_id"].astype(str).to_numpy()
    y = here["y_true"].to_numpy()
    people = pd.Series(y, index=who).groupby(level=0).first()
    row: dict[str, Any] = {"n_people": len(people), "n_scans": here["scan_id"].nunique()}
    if kind == "regression":
        row["enough"] = len(people) >= MIN_PEOPLE
        error = here["y_pred"].to_numpy() - y
        row |= _mean("mae", np.abs(error), who) | _mean("bias", error, who)
        return row
    sizes = people.value_counts()
    row["n_positive"] = int((people == 1).sum())
    row["enough"] = len(people) >= MIN_PEOPLE
    right = pd.Series(here["y_pred"].to_numpy() == y, index=who).groupby(level=0).mean()
    share = float(right.mean())
    low, high = wilson(share, len(people))
    row |= {"accuracy": share, "accuracy_low": low, "accuracy_high": high}
    if kind == "binary":
        row["enough"] = len(sizes) == 2 and int(sizes.min()) >= MIN_PER_CLASS
        row |= _auc(here, y, who, int(sizes.min())) if row["enough"] else {}
    return row


def _auc(here: pd.DataFrame, y: np.ndarray, who: np.ndarray, smaller: int) -> dict[str, float]:
    group = here.groupby(["repeat", "fold"]).ngroup().to_numpy()
    auc, psi = auc_influence(y, here["y_score"].to_numpy(float), group)
    low, high = interval(auc, standard_error(psi, who), smaller)
    return {"auc": auc, "auc_low": low, "auc_high": high}


def _mean(name: str, values: np.ndarray, who: np.ndarray) -> dict[str, float]:
    """Mean over participants and its interval, by the normal approximation."""
    means = pd.Series(values, index=who).groupby(level=0).mean()
    half = Z * float(means.std(ddof=1)) / np.sqrt(len(means)) if len(means) > 1 else np.nan
    centre = float(means.mean())
    return {name: centre, f"{name}_low": centre - half, f"{name}_high": centre + half}


def site_table(found: pd.DataFrame, kind: str) -> list[dict[str, Any]]:
    """One row per site, with the scores of all methods.

    Parameters
    ----------
    found : DataFrame
        Result of `site_results`.

    Returns
    -------
    list of dict
        Name of a column to its text or `Cell`.
    """
    rows = []
    for (dataset, site), here in found.groupby(["dataset", "site"], sort=False):
        first = here.iloc[0]
        cells: dict[str, Any] = {"Data set": dataset, "Site": site}
        cells["Participants"] = int(first["n_people"])
        if kind == "binary":
            cells["of the second class"] = int(first["n_positive"])
        cells["Scans"] = int(first["n_scans"])
        for metric in METRICS[kind]:
            for row in here.to_dict("records"):
                cells[f"{TITLES[metric]}, {short_of(row['method'])}"] = _cell(row, metric)
        rows.append(cells)
    return rows


def _cell(row: dict[Any, Any], metric: str) -> Cell:
    return unscaled(row, metric) if metric in ("mae", "bias") else score(row, metric)


def small_sites(found: pd.DataFrame, cohort: pd.DataFrame) -> dict[str, list[str]]:
    """Sites without a score: tested but too small, or not tested.

    Parameters
    ----------
    found : DataFrame
        Result of `site_results`.
    cohort : DataFrame
        `tables.COHORT`.

    Returns
    -------
    dict
        ``small`` and ``untested``: names of sites, with the number of participants.
    """
    if found.empty:
        return {"small": [], "untested": []}
    few = found[~found["enough"].astype(bool)].drop_duplicates(["dataset", "site"])
    used = cohort[cohort["used"]].drop_duplicates(["dataset", "participant_id"])
    sites = used.assign(site=used["site"].fillna(UNKNOWN)).groupby(["dataset", "site"])
    sizes = sites.size().reset_index(name="n").to_numpy().tolist()
    tested = set(zip(found["dataset"], found["site"], strict=True))
    return {
        "small": [f"{s} ({n})" for s, n in few[["site", "n_people"]].to_numpy().tolist()],
        "untested": [f"{s} ({n})" for d, s, n in sizes if (d, s) not in tested],
    }


def draw_sites(found: pd.DataFrame, kind: str, overall: dict[str, float]) -> Figure:
    """The first metric of each of the largest sites with its interval, by method.

    Parameters
    ----------
    found : DataFrame
        Result of `site_results`.
    overall : dict
        Score of each method over all sites, drawn as a dashed line.

    Raises
    ------
    NotAvailableError
        If no site has enough participants.
    """
    metric = METRICS[kind][0]
    shown = found[found["enough"].astype(bool)] if len(found) else found
    if shown.empty:
        raise NotAvailableError("No site has enough tested participants for its own score.")
    sites = list(dict.fromkeys(zip(shown["dataset"], shown["site"], strict=True)))[:MAX_DRAWN]
    methods = list(dict.fromkeys(shown["method"].astype(str)))
    figure = new_figure(5.6, 1.4 + (0.24 + 0.12 * len(methods)) * len(sites))
    axes = figure.subplots()
    place = {site: len(sites) - i for i, site in enumerate(sites)}
    several = len({d for d, _ in sites}) > 1
    for k, method in enumerate(methods):
        colour, shift = colour_of(method), 0.14 * (len(methods) - 1 - 2 * k)
        here = shown[shown["method"] == method]
        here = here[[s in place for s in zip(here["dataset"], here["site"], strict=True)]]
        y = [place[s] + shift for s in zip(here["dataset"], here["site"], strict=True)]
        axes.hlines(y, here[f"{metric}_low"], here[f"{metric}_high"], color=colour, linewidth=1.8)
        axes.plot(here[metric], y, "o", color=colour, markersize=5, label=short_of(method))
        if method in overall:
            axes.axvline(overall[method], color=colour, linewidth=1, linestyle="--", alpha=0.7)
    names = [f"{d}: {s}" if several else s for d, s in sites]
    people = shown.drop_duplicates(["dataset", "site"]).set_index(["dataset", "site"])["n_people"]
    labels = [f"{n} ({people[s]})" for n, s in zip(names, sites, strict=True)]
    axes.set_yticks([place[s] for s in sites], labels, fontsize=9)
    if kind == "binary":
        axes.axvline(0.5, color="#bbbbbb", linewidth=1)
    axes.set(xlabel=f"{TITLES[metric]} within the site", ylim=(0.3, len(sites) + 0.7))
    if kind != "regression":
        axes.set_xlim(max(0.0, float(shown[f"{metric}_low"].min()) - 0.03), 1.02)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9)
    return figure
