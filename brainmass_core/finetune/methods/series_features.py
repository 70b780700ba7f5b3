"""Features of a task's recordings: frozen embeddings, and the scaled series."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from brainmass_core.config import Config
from brainmass_core.encoders.interface import folder_of
from brainmass_core.finetune.cohort.dataset import TaskData
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.models.device import device
from brainmass_core.models.series import SeriesModel
from brainmass_core.pretrain.data.recordings import Feed, feed_of, recordings

BATCH = 8  # windows of one scan at a time, so that its embedding does not depend on other scans


def first_windows(config: Config, data: TaskData) -> np.ndarray:
    """The first window of each recording, prepared for the model, (n_scans, n_rois * window).

    Returns
    -------
    ndarray (n_scans, n_rois * window) of float32
    """
    feed = fitting_feed(config, data)
    shape = (len(data.scans), data.n_rois * feed.settings.window)
    found = np.empty(shape, np.float32)
    for row, windows in _by_row(config, feed, data):
        found[row] = windows[0].ravel()
    return found


def embed_recording(model: SeriesModel, windows: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """The mean embedding of the windows of one recording, with nothing hidden.

    Parameters
    ----------
    windows : ndarray (n_windows, n_rois, window), float32
    coordinates : ndarray (n_rois, 3), float32

    Returns
    -------
    ndarray (d,), float32
    """
    place = next(model.parameters()).device
    where = torch.from_numpy(coordinates).to(place)
    parts = []
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        # reference mode draws a token order: the same one each time
        torch.default_generator.manual_seed(0)
        for start in range(0, len(windows), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(windows[start : start + BATCH]))
            parts.append(model.encode(batch.to(place), where).float().cpu().numpy())
    return np.concatenate(parts).mean(axis=0)


def fitting_feed(config: Config, data: TaskData) -> Feed:
    """The input transform of the study's model, after checking the task's parcels.

    Raises
    ------
    TaskError
        Naming the differences.
    """
    feed = feed_of(config)
    found = (feed.atlas, len(feed.coordinates))
    if found != (config.atlas.name, data.n_rois):
        raise TaskError(
            f"{folder_of(config)}: the model has atlas {found[0]!r} with {found[1]} parcels, the "
            f"task's series have {config.atlas.name!r} with {data.n_rois}; pre-train with the "
            "same atlas"
        )
    return feed


def embed_recordings(model: SeriesModel, config: Config, data: TaskData) -> np.ndarray:
    """Embeddings (n_scans, d) of recordings by a model, with the study's input transform.

    Returns
    -------
    ndarray (n_scans, d) of float32
    """
    feed = fitting_feed(config, data)
    model = model.eval().to(device())
    found = np.empty((len(data.scans), model.embedding_dim), np.float32)
    for row, windows in _by_row(config, feed, data):
        found[row] = embed_recording(model, windows, feed.coordinates)
    return found


def _by_row(config: Config, feed: Feed, data: TaskData) -> Iterator[tuple[int, np.ndarray]]:
    """Row and windows of every scan of the task.

    Raises
    ------
    TaskError
        If a scan has no series.
    """
    rows = {scan_id: row for row, scan_id in enumerate(data.scans["scan_id"])}
    datasets = list(dict.fromkeys(data.scans["dataset"]))
    missing = set(rows)
    for scan_id, windows in recordings(config, feed, datasets, set(rows)):
        missing.discard(scan_id)
        yield rows[scan_id], windows
    if missing:
        raise TaskError(
            f"{len(missing)} scans have FC but no time series, such as {min(missing)}; remove "
            f"{config.results / 'timeseries'} and {config.results / 'connectivity'}, and run: "
            "snakemake --cores all connectivity"
        )
