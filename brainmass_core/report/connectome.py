"""Mean FC of a task, accumulated over batches, and the atlas for drawing it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from brainmass_core.atlas import VORONOI
from brainmass_core.atlas.parcels import network_order, parcels, places
from brainmass_core.config import Config
from brainmass_core.connectivity import unvectorise
from brainmass_core.pipeline.paths import Paths
from brainmass_core.report.streams import stream
from brainmass_core.tables import read_table

ROWS = 2000  # scans whose FC is in memory at once


@dataclass(frozen=True)
class Connectome:
    """Mean FC, the difference between two classes, and the positions of the parcels.

    Attributes
    ----------
    mean : ndarray (n_rois, n_rois)
        Over the scans of both classes; not Fisher-transformed, diagonal 1.
    difference : ndarray (n_rois, n_rois)
        Mean of the second class minus mean of the first, diagonal 0.
    n_scans : int
    labels : DataFrame (n_rois rows)
        name, network, x, y, z; unknown networks are empty and unknown coordinates NaN.
    atlas : str
        Name in the time-series table, which differs from the configuration's for the approximation.
    two_classes : bool
        Whether there is a difference to show.
    """

    mean: np.ndarray
    difference: np.ndarray
    n_scans: int
    labels: pd.DataFrame
    atlas: str
    two_classes: bool = True

    @property
    def has_networks(self) -> bool:
        """Whether every parcel has a network."""
        return bool((self.labels["network"] != "").all())

    @property
    def has_coordinates(self) -> bool:
        """Whether every parcel has coordinates."""
        return bool(np.isfinite(places(self.labels)).all())

    @property
    def approximate(self) -> bool:
        """Whether the atlas is the approximation for synthetic data."""
        return self.atlas == VORONOI

    def order(self) -> np.ndarray:
        """Indices (n_rois,) of parcels ordered by network; in the order of the atlas if it has no
        networks.
        """
        return network_order(self.labels["network"])

    def within_and_between(self) -> tuple[float, float] | None:
        """Mean FC of edges within networks and of edges between them."""
        network = self.labels["network"].to_numpy()
        same = network[:, None] == network[None, :]
        upper = np.triu(np.ones(same.shape, bool), 1)
        if not self.has_networks or not (upper & same).any() or not (upper & ~same).any():
            return None
        return float(self.mean[upper & same].mean()), float(self.mean[upper & ~same].mean())


def read_connectome(config: Config, cohort: pd.DataFrame) -> Connectome | None:
    """Mean FC over the used scans of a cohort; one batch in memory at a time.

    Parameters
    ----------
    cohort : DataFrame
        `tables.COHORT` of one task.

    Returns
    -------
    Connectome or None
        None if no scan was used.
    """
    used = cohort[cohort["used"]]
    classes = list(config.tasks[str(cohort["task"].iloc[0])].classes)
    two = len(classes) == 2
    if not two:  # one group with all scans, and an empty one
        used, classes = used.assign(class_name="all"), ["all", ""]
    total, count = mean_per_class(config, used, classes)
    if not sum(count):
        return None
    atlas = atlas_name(config, used) or config.atlas.name
    means = [t / n if n else np.zeros_like(t) for t, n in zip(total, count, strict=True)]
    mean = unvectorise((total[0] + total[1]) / sum(count))
    difference = unvectorise(means[1] - means[0], diagonal=0.0)
    labels = parcels(config, atlas, len(mean))
    return Connectome(mean, difference, sum(count), labels, atlas, two)


def dataset_connectome(config: Config, name: str) -> Connectome | None:
    """Mean FC over all scans of a data set, whatever their class; one batch in memory at a time.

    Returns
    -------
    Connectome or None
        None if no scan reached FC. `difference` is 0 everywhere.
    """
    paths = Paths(config.results)
    total, n_scans, atlas = np.zeros(1), 0, ""
    for batch in range(config.datasets[name].batches):
        path = paths.batch("connectivity", name, batch)
        for piece in stream(path, "connectivity", ["fc"], ROWS):
            total = total + _rows(piece["fc"]).sum(0, dtype=np.float64)
            n_scans += len(piece)
            atlas = atlas or _atlas_of_batch(paths, name, batch)
    if not n_scans:
        return None
    mean = unvectorise(total / n_scans)
    atlas = atlas or config.atlas.name
    labels = parcels(config, atlas, len(mean))
    return Connectome(mean, np.zeros_like(mean), n_scans, labels, atlas)


def _rows(fc: pa.FixedSizeListArray) -> np.ndarray:
    """FC vectors (n_scans, n_edges) of an Arrow column."""
    return fc.flatten().to_numpy(zero_copy_only=False).reshape(len(fc), -1)


def mean_per_class(
    config: Config, used: pd.DataFrame, classes: list[str]
) -> tuple[list[np.ndarray], list[int]]:
    """Sums of FC vectors and numbers of scans of two classes.

    Parameters
    ----------
    used : DataFrame (n_scans rows)
        scan_id, dataset, batch and class_name of the used scans.
    classes : list of str
        Two names.

    Returns
    -------
    total : list of two ndarray (n_edges,)
        (1,) for a class without scans.
    count : list of two int
    """
    paths = Paths(config.results)
    total = [np.zeros(1), np.zeros(1)]
    count = [0, 0]
    for (dataset, batch), scans in used.groupby(["dataset", "batch"]):
        path = paths.batch("connectivity", str(dataset), str(batch))
        number = dict(zip(scans["scan_id"], map(classes.index, scans["class_name"]), strict=True))
        for piece in stream(path, "connectivity", ["scan_id", "fc"], ROWS):
            of = np.array([number.get(s, -1) for s in piece["scan_id"].to_pylist()])
            fc = _rows(piece["fc"])
            for k in range(2):
                if (of == k).any():
                    total[k] = total[k] + fc[of == k].sum(0, dtype=np.float64)
                    count[k] += int((of == k).sum())
    return total, count


def atlas_name(config: Config, used: pd.DataFrame) -> str:
    """Name of the atlas in the time-series table of the first used scan.

    Parameters
    ----------
    used : DataFrame (n_scans rows)
        scan_id, dataset and batch.
    """
    first = used.sort_values("scan_id").iloc[0]
    return _atlas_of_batch(Paths(config.results), first["dataset"], int(first["batch"]))


def _atlas_of_batch(paths: Paths, dataset: str, batch: int) -> str:
    path = paths.batch("timeseries", dataset, batch)
    if not path.exists():
        return ""
    names = read_table(path, "timeseries", ["atlas"])["atlas"].drop_null().unique().to_pylist()
    return str(sorted(names)[0]) if names else ""
