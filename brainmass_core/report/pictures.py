"""The figures of a task's page and their captions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brainmass_core import drawing
from brainmass_core.config import Config
from brainmass_core.pipeline.paths import FIGURES, Paths
from brainmass_core.report import figures
from brainmass_core.report.calibration import draw_calibration, without_probabilities
from brainmass_core.report.connectome import Connectome
from brainmass_core.report.few_shot import draw_curves
from brainmass_core.report.names import short_of
from brainmass_core.report.page import Picture
from brainmass_core.report.participants import choose_scans
from brainmass_core.report.predicted import draw_predicted
from brainmass_core.report.results import Results
from brainmass_core.report.sites import MAX_DRAWN, draw_sites
from brainmass_core.report.streams import stream
from brainmass_core.tables import read_table

TITLES = {
    "scores": "Scores of every method",
    "roc": "ROC",
    "calibration": "Calibration",
    "predicted": "Predicted and true",
    "sites": "Site by site",
    "few_shot": "Learning curves",
    "motion": "Head motion",
    "fc_matrix": "Mean FC",
    "fc_difference": "Difference of mean FC",
    "glass_brain": "Strongest connections",
    "carpet": "Single scans",
    "loss": "Pre-training",
}
WIDE = ("glass_brain", "few_shot")


def draw_task(r: Results, connectome: Connectome | None) -> dict[str, Picture]:
    """All figures of `paths.FIGURES` of a task, by name."""
    chosen = choose_scans(r.cohort, r.config.report.max_figures)
    leading = r.metrics.set_index("method")["auc"].dropna().to_dict()
    overall = {m: leading[m] for m in r.shown if r.kind == "binary" and m in leading}
    label = r.config.tasks[r.name].label
    makers: dict[str, Callable[[], Figure]] = {
        "scores": partial(figures.scores, r.metrics, r.kind),
        "roc": partial(figures.roc, r.roc, r.metrics, r.shown),
        "calibration": partial(draw_calibration, r.calibration, r.metrics, r.classes),
        "predicted": partial(draw_predicted, r.predictions, r.metrics, label, r.shown),
        "sites": partial(draw_sites, r.sites, r.kind, overall),
        "few_shot": partial(draw_curves, r.curves),
        "motion": partial(figures.motion, r.cohort, r.classes),
        "fc_matrix": partial(figures.fc_matrix, connectome),
        "fc_difference": partial(figures.fc_matrix, connectome, difference=True),
        "glass_brain": partial(figures.glass_brain, connectome),
        "carpet": lambda: figures.carpet(read_series(r.config, chosen), _order(connectome)),
        "loss": partial(figures.loss, read_history(r.config)),
    }
    captions = _score_captions(r) | _data_captions(r, connectome, len(chosen))
    pictures = {}
    for key in FIGURES:
        png, missing = drawing.draw(makers[key])
        wide = key in WIDE or (key == "predicted" and len(r.shown) > 1)
        pictures[key] = Picture(key, TITLES[key], captions[key], png, missing, wide)
    return pictures


def draw_dataset(name: str, connectome: Connectome | None) -> list[Picture]:
    """Figures of the mean FC of a data set and of its strongest connections."""
    n = connectome.n_scans if connectome else 0
    matrix, no_matrix = drawing.draw(partial(figures.fc_matrix, connectome))
    brain, no_brain = drawing.draw(partial(figures.glass_brain, connectome))
    caption = f"Mean of {n} scan{'s' * (n != 1)}.{_network_sentence(connectome)}"
    edges = f"The {figures.N_EDGES} largest edges of that mean by absolute value."
    return [
        Picture(f"fc_matrix_{name}", f"Mean FC of {name}", caption, matrix, no_matrix),
        Picture(f"glass_brain_{name}", f"Connections of {name}", edges, brain, no_brain, True),
    ]


def draw_loss(config: Config) -> Picture:
    """Figure of the losses of pre-training."""
    png, missing = drawing.draw(partial(figures.loss, read_history(config)))
    return Picture("loss", TITLES["loss"], loss_caption(config), png, missing)


def read_history(config: Config) -> pd.DataFrame | None:
    """History of pre-training; None if there is none.

    Returns
    -------
    DataFrame or None
        One row per step.
    """
    path = Paths(config.results).pretrain(config.pretrain.model) / "history.parquet"
    return read_table(path, "history").to_pandas() if path.exists() else None


def read_series(config: Config, chosen: pd.DataFrame) -> list[tuple[str, np.ndarray]]:
    """Title and series (n_timepoints, n_rois) of single scans, in the order given.

    Parameters
    ----------
    chosen : DataFrame (n_scans rows)
        scan_id, dataset, batch and mean_fd.

    Returns
    -------
    list of tuple
        Title, and ndarray (n_timepoints, n_rois); scans without a series are omitted.
    """
    found = {}
    for (dataset, batch), scans in chosen.groupby(["dataset", "batch"]):
        path = Paths(config.results).batch("timeseries", str(dataset), str(batch))
        if not path.exists():
            continue
        wanted = set(scans["scan_id"])
        for piece in stream(path, "timeseries", ["scan_id", "bold"], 50):
            for i, scan in enumerate(piece["scan_id"].to_pylist()):
                if scan in wanted and piece["bold"][i].is_valid:
                    found[scan] = np.array(piece["bold"][i].as_py(), dtype=float)
    shown = []
    for scan, fd in zip(chosen["scan_id"].tolist(), chosen["mean_fd"].tolist(), strict=True):
        if scan in found:
            motion = "" if np.isnan(fd) else f"\nmean FD {fd:.2f} mm"
            shown.append((f"{scan}{motion}", found[scan]))
    return shown


def _order(connectome: Connectome | None) -> np.ndarray:
    return connectome.order() if connectome else np.array([], dtype=int)


def _score_captions(r: Results) -> dict[str, str]:
    silent = without_probabilities(r.metrics)
    gives_none = f" No probabilities: {', '.join(silent)}." if silent else ""
    shown = " and ".join(map(short_of, r.shown))
    few = (
        f" With more than {figures.MAX_CURVES} methods, the best for each kind of features is "
        "drawn."
        if len(r.metrics) > figures.MAX_CURVES
        else ""
    )
    return {
        "scores": "Points are means over repeats, bars 95 % intervals from a bootstrap over "
        "participants; the dashed line is chance.",
        "roc": "Averaged over folds and repeats, so that only scores of one model are compared; "
        f"bands are pointwise 95 % bootstrap intervals.{few}",
        "calibration": "Observed frequency of a class by its predicted probability, in ten bins "
        "of equal width; the dashed line is perfect calibration. Larger points have more "
        "predictions, from all repeats, so they are not independent. The Brier score is the mean "
        f"squared error of the probabilities: 0 is best, 0.25 is a coin toss.{gives_none}",
        "predicted": f"Predictions of each tested scan, mean over repeats, by {shown}. Dashed: "
        "perfect prediction; horizontal: the mean, whose MSE is the target's variance.",
        "sites": f"{shown}, each within single sites; bars are 95 % intervals over participants, "
        "in brackets the number tested"
        + ("; dashed lines are over all sites." if r.kind == "binary" else ".")
        + f" At most the {MAX_DRAWN} largest sites.",
        "few_shot": "AUC of simple classifiers with k labelled participants per class, drawn from "
        "the training part of the folds, on a logarithmic axis. Bands: 95 % intervals of the mean "
        "over draws; dotted: range of 95 % of single draws. FC needs no pre-training.",
    }


def _data_captions(r: Results, connectome: Connectome | None, n_shown: int) -> dict[str, str]:
    n = connectome.n_scans if connectome else 0
    estimator = r.config.connectivity.estimator
    difference = (
        f"Mean FC of {r.classes[1]} minus that of {r.classes[0]}, in the same order. "
        "Descriptive: no test, no correction for confounds."
        if r.kind == "binary"
        else ""
    )
    return {
        "motion": "Mean framewise displacement of each used scan. Groups that move differently "
        "can be separated without any brain signal.",
        "fc_matrix": f"Mean of {n} scans ({estimator})." + _network_sentence(connectome),
        "fc_difference": difference,
        "glass_brain": f"The {figures.N_EDGES} edges of the mean FC that are largest by absolute "
        "value, at the parcels' centroids, seen from left, above and right.",
        "carpet": f"Clean parcel series of {n_shown} scans, from the least to the most motion: "
        "standardised, parcels as rows"
        + (" by network." if connectome and connectome.has_networks else "."),
        "loss": loss_caption(r.config),
    }


COLLAPSE = (
    "With many steps, a running mean over a fiftieth of them. An effective rank that falls to 1 "
    "indicates collapse; a step with n scans has at most n - 1, so with 2 scans it is always 1."
)


def _network_sentence(connectome: Connectome | None) -> str:
    found = connectome.within_and_between() if connectome else None
    if not found:
        return " The atlas has no networks, so parcels are in its own order."
    return f" Ordered by network: mean {found[0]:.2f} within networks, {found[1]:.2f} between them."


def loss_caption(config: Config) -> str:
    """Caption of the loss curves."""
    encoder = config.pretrain.encoder
    default = f"Losses of the pre-training ({encoder.label}, {config.pretrain.epochs} epochs)."
    said = encoder.pages.training(config.pretrain) if encoder.pages.training else default
    return f"{said} {COLLAPSE}"
