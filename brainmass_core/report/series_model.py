"""Analyses of a BrainLM on unseen participants, from `results/series_model`, for the front page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from brainmass_core.config import Config
from brainmass_core.intervals import known
from brainmass_core.pipeline.paths import Paths
from brainmass_core.report.cells import number, p_value, score
from brainmass_core.report.page import Picture
from brainmass_core.series_model.names import METHODS
from brainmass_core.tables import read_table

TITLES = {
    "reconstruction": "Hidden parts of the series",
    "forecast": "The future of the series",
    "networks": "Intrinsic networks of the parcels",
    "attention": "Attention to the parcels",
    "perturbation": "Perturbation of the parcels",
}
CAPTIONS = {
    "reconstruction": "Left: a recording in which each part was hidden once and predicted from "
    "the rest, for the parcels at the 90 %, 50 % and 10 % quantile of the correlation. Right: R2 "
    "of hidden values (below 0: worse than their mean), with 95 % intervals over participants.",
    "forecast": "R2 of each predicted timepoint (below 0: worse than the mean of the recorded "
    "values), with 95 % intervals over participants for the model; curves far below 0 are cut "
    "off. Baselines are fitted to participants of the pre-training. A single curve may only "
    "reflect the autocorrelation of the series: see the gain over the last value.",
    "networks": "Balanced accuracy with its 95 % interval over participants, for parcels held out "
    "within a recording and of other participants' recordings; k-NN, and a graph convolutional "
    "network. Grey: 95 % of shuffled labels. Shuffling ignores the similarity of neighbours: the "
    "score of coordinates alone is a better reference.",
    "attention": "Last-layer attention of the CLS token to each parcel, mean over participants; 1 "
    "corresponds to uniform attention. Below, if series_model.task is set, Welch's t of the "
    "second class against the first. Attention shows which parcels the model uses, but does not "
    "explain its predictions.",
    "perturbation": "The perturbation which, added to the series of the first class, moves the "
    "model's state closest to that of the second: mean over time, and mean size. It describes the "
    "model, not an effect of stimulation. The table gives the fraction of the squared distance "
    "that remains over restarts, and the correlation of the sizes of parcels between restarts and "
    "between draws of participants: if these are low, the map must not be interpreted.",
}
Rows = list[dict[str, Any]]
MAX_LEFT = 0.5  # fraction of the squared distance between the classes


@dataclass(frozen=True)
class Analysed:
    """One analysis on the page.

    Attributes
    ----------
    rows : list of dict
        Rows of the table, by column heading.
    warning : str
        Why the figure must not be interpreted; empty if it may be.
    """

    name: str
    picture: Picture
    rows: Rows
    warning: str = ""


def read_series_model(config: Config) -> list[Analysed]:
    """All analyses in `series_model.analyses`, in that order.

    Raises
    ------
    TableError
        If a table is missing, damaged or of another version.
    """
    return [_read(Paths(config.results), name) for name in config.series_model.analyses]


def _read(paths: Paths, name: str) -> Analysed:
    path = paths.series_model(f"{name}.parquet")
    table = read_table(path, f"series_model_{name}").to_pandas()
    png = paths.series_model(f"{name}.png").read_bytes()
    picture = Picture(f"series_model_{name}", TITLES[name], CAPTIONS[name], png, wide=True)
    rows = ROWS[name](table)
    if not any(row.get("Network") for row in rows):  # the atlas has none
        rows = [{k: v for k, v in row.items() if k != "Network"} for row in rows]
    return Analysed(name, picture, rows, _warning(table) if name == "perturbation" else "")


def _warning(table: pd.DataFrame) -> str:
    """Warning for a search that did not end near the other class."""
    left = float(table["remaining_low"].min())
    if not left > MAX_LEFT:
        return ""
    return (
        f"The search did not converge to the other class: {left:.0%} of the distance or more "
        "remains. The map must not be interpreted."
    )


def _reconstruction(table: pd.DataFrame) -> Rows:
    return [
        {
            "Data set": row["dataset"],
            "Method": METHODS[row["method"]],
            "Participants": row["n_participants"],
            "Hidden": number(row["mask_ratio"]),
            "R2": score(row, "r2"),
            "Pearson": score(row, "pearson"),
            "MSE": score(row, "mse"),
            "Variance": number(row["variance"]),
        }
        for row in table.to_dict("records")
    ]


def _forecast(table: pd.DataFrame) -> Rows:
    return [
        {
            "Data set": row["dataset"],
            "Method": METHODS[row["method"]],
            "Participants": row["n_participants"],
            "R2, all timepoints": score(row, "r2"),
            "Gain over the last value": score(row, "r2_gain", sign="+"),
            "Pearson": score(row, "pearson"),
            "MSE": score(row, "mse"),
            "Variance": number(row["variance"]),
        }
        for row in table[table["step"] == 0].to_dict("records")
    ]


def _networks(table: pd.DataFrame) -> Rows:
    return [
        {
            "Parcels held out": row["scheme"],
            "From": METHODS[row["method"]],
            "Participants": row["n_participants"],
            "Parcels": row["n_rois"],
            "Balanced accuracy": score(row, "balanced_accuracy"),
            "Shuffled labels": score(row, "chance"),
            "p": p_value(row["p"]),
        }
        for row in table.to_dict("records")
    ]


def _attention(table: pd.DataFrame) -> Rows:
    rows = []
    for row in table.sort_values(["p_family", "attention"], ascending=[True, False]).to_dict(
        "records"
    ):
        shown = {
            "Parcel": row["name"],
            "Network": row["network"],
            "Participants": row["n_participants"],
            "Attention": number(row["attention"]),
            "SD": number(row["attention_sd"]),
        }
        if row["first"]:
            shown |= {
                f"{row['second']} ({row['n_second']}) - {row['first']} ({row['n_first']})": number(
                    row["difference"], 3, "+"
                ),
                "p": p_value(row["p"]),
                "p, all parcels": p_value(row["p_family"]),
            }
        rows.append(shown)
    return rows


def _perturbation(table: pd.DataFrame) -> Rows:
    return [
        {
            "Parcel": row["name"],
            "Network": row["network"],
            "From": f"{row['first']} ({row['n_first']})",
            "To": f"{row['second']} ({row['n_second']})",
            "Size": score(row, "magnitude"),
            "Added": number(row["added"], 2, "+"),
            "Distance left": f"{row['remaining_low']:.0%} to {row['remaining_high']:.0%}"
            if known(row["remaining_low"], row["remaining_high"])
            else "unknown",
            "Agreement of restarts": score(row, "stability_restarts"),
            "Agreement of draws": score(row, "stability_draws"),
        }
        for row in table.sort_values("magnitude", ascending=False).to_dict("records")
    ]


ROWS = {
    "reconstruction": _reconstruction,
    "forecast": _forecast,
    "networks": _networks,
    "attention": _attention,
    "perturbation": _perturbation,
}
