"""The pictures of a task's page: what each is drawn from, and its caption."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from brainmass_core.config import Config
from brainmass_core.paths import FIGURES, Paths
from brainmass_core.report import figures
from brainmass_core.report.cohort import choose_scans
from brainmass_core.report.connectome import Connectome
from brainmass_core.report.page import Picture
from brainmass_core.tables import read_table

TITLES = {
    "scores": "Scores of every method",
    "roc": "ROC",
    "motion": "Head motion by class",
    "fc_matrix": "Mean FC",
    "fc_difference": "Difference of mean FC",
    "glass_brain": "Strongest connections",
    "carpet": "Single scans",
    "loss": "Pre-training",
}
WIDE = ("glass_brain",)


def draw_task(
    config: Config, name: str, tables: dict[str, pd.DataFrame], connectome: Connectome | None
) -> dict[str, Picture]:
    """Every figure of `paths.FIGURES` of a task, by name."""
    cohort, classes = tables["cohort"], list(config.tasks[name].classes)
    chosen = choose_scans(cohort, config.report.max_figures)
    makers: dict[str, Callable[[], Figure]] = {
        "scores": partial(figures.scores, tables["metrics"]),
        "roc": partial(figures.roc, tables["roc"], tables["metrics"]),
        "motion": partial(figures.motion, cohort, classes),
        "fc_matrix": partial(figures.fc_matrix, connectome),
        "fc_difference": partial(figures.fc_matrix, connectome, difference=True),
        "glass_brain": partial(figures.glass_brain, connectome),
        "carpet": lambda: figures.carpet(read_series(config, chosen), _order(connectome)),
        "loss": partial(figures.loss, read_history(config)),
    }
    captions = _captions(config, classes, connectome, len(chosen))
    pictures = {}
    for key in FIGURES:
        png, missing = figures.draw(makers[key])
        pictures[key] = Picture(key, TITLES[key], captions[key], png, missing, key in WIDE)
    return pictures


def draw_dataset(name: str, connectome: Connectome | None) -> list[Picture]:
    """Mean FC of a data set and its strongest connections."""
    n = connectome.n_scans if connectome else 0
    matrix, no_matrix = figures.draw(partial(figures.fc_matrix, connectome))
    brain, no_brain = figures.draw(partial(figures.glass_brain, connectome))
    caption = f"Mean of {n} scan{'s' * (n != 1)}.{_network_sentence(connectome)}"
    edges = f"The {figures.N_EDGES} largest edges of that mean by absolute value."
    return [
        Picture(f"fc_matrix_{name}", f"Mean FC of {name}", caption, matrix, no_matrix),
        Picture(f"glass_brain_{name}", f"Connections of {name}", edges, brain, no_brain, True),
    ]


def draw_loss(config: Config) -> Picture:
    """The losses of the pre-training."""
    png, missing = figures.draw(partial(figures.loss, read_history(config)))
    return Picture("loss", TITLES["loss"], loss_caption(config), png, missing)


def read_history(config: Config) -> pd.DataFrame | None:
    """History of the pre-training, None if there is none."""
    path = Paths(config.results).pretrain(config.pretrain.model) / "history.parquet"
    return read_table(path, "history").to_pandas() if path.exists() else None


def read_series(config: Config, chosen: pd.DataFrame) -> list[tuple[str, np.ndarray]]:
    """Title and series (n_timepoints, n_rois) of single scans, in the order given."""
    found = {}
    for (dataset, batch), scans in chosen.groupby(["dataset", "batch"]):
        path = Paths(config.results).batch("timeseries", str(dataset), str(batch))
        if not path.exists():
            continue
        table = read_table(path, "timeseries", ["scan_id", "bold"])
        ids = pa.array(scans["scan_id"].tolist(), pa.string())
        for row in table.filter(pc.is_in(table["scan_id"], ids)).to_pylist():
            found[row["scan_id"]] = np.array(row["bold"], dtype=float)
    shown = []
    for scan, fd in zip(chosen["scan_id"].tolist(), chosen["mean_fd"].tolist(), strict=True):
        if scan in found:
            motion = "" if np.isnan(fd) else f"\nmean FD {fd:.2f} mm"
            shown.append((f"{scan}{motion}", found[scan]))
    return shown


def _order(connectome: Connectome | None) -> np.ndarray:
    return connectome.order() if connectome else np.array([], dtype=int)


def _captions(
    config: Config, classes: list[str], connectome: Connectome | None, n_shown: int
) -> dict[str, str]:
    n = connectome.n_scans if connectome else 0
    estimator = config.connectivity.estimator
    return {
        "scores": "Points are means over repeats, bars 95 % intervals from a bootstrap over "
        "participants; the dashed line is chance.",
        "roc": "Averaged over folds and repeats, so that only scores of one model are compared; "
        "bands are pointwise 95 % bootstrap intervals.",
        "motion": "Mean framewise displacement of each scan that took part. Groups that move "
        "differently can be told apart without any brain signal.",
        "fc_matrix": f"Mean of {n} scans of both classes ({estimator})."
        + _network_sentence(connectome),
        "fc_difference": f"Mean FC of {classes[1]} minus that of {classes[0]}, in the same order. "
        "Descriptive: no test, no correction for confounds.",
        "glass_brain": f"The {figures.N_EDGES} edges of the mean FC that are largest by absolute "
        "value, at the parcels' centroids, seen from left, above and right.",
        "carpet": f"Clean parcel series of {n_shown} scans, from the least to the most motion: "
        "standardised, parcels as rows"
        + (" by network." if connectome and connectome.has_networks else "."),
        "loss": loss_caption(config),
    }


def _network_sentence(connectome: Connectome | None) -> str:
    found = connectome.within_and_between() if connectome else None
    if not found:
        return " The atlas names no networks, so parcels stand in its own order."
    return (
        f" Ordered by network: {found[0]:.2f} within networks, {found[1]:.2f} between them, "
        "on average."
    )


def loss_caption(config: Config) -> str:
    """Caption of the loss curves."""
    p = config.pretrain
    return (
        f"Losses of the pre-training (size {p.size}, {p.epochs} epochs); the total weighs "
        f"classification by {p.lambda_classification:g} and reconstruction by "
        f"{p.lambda_reconstruction:g}. An effective rank that falls to 1 would be a collapse."
    )
