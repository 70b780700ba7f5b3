"""Integrated gradients of a probe on the embedding of recordings, summed by parcel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brainmass_core.config import Config
from brainmass_core.config.sections import Interpret
from brainmass_core.encoders.interface import implementation_of
from brainmass_core.finetune.cohort.dataset import TaskData
from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.finetune.methods.embedding import embedding
from brainmass_core.finetune.methods.series_features import fitting_feed
from brainmass_core.interpret.attribution import Explained, along_paths, slope
from brainmass_core.interpret.explained_model import Probe
from brainmass_core.models.device import device
from brainmass_core.models.series import SeriesModel
from brainmass_core.pretrain.data.recordings import recordings


@dataclass(frozen=True)
class RecordingsModel:
    """A pre-trained model of series and its input.

    Attributes
    ----------
    embedding : ndarray (n_scans, d)
        Embeddings of all scans of the task.
    windows : dict
        Row to windows (n_windows, n_rois, window) of the scans that are explained.
    coordinates : ndarray (n_rois, 3), float32
        MNI, in mm.
    """

    model: SeriesModel
    embedding: np.ndarray
    windows: dict[int, np.ndarray]
    coordinates: np.ndarray
    transformer: None = None  # no attention maps

    def explain(
        self,
        method: str,
        data: TaskData,
        fold: Fold,
        rows: np.ndarray,
        settings: Interpret,
        probe: Probe,
        rng: np.random.Generator,
    ) -> Explained:
        """Importance of parcels (n_rois,) by gradients; see `PretrainedModel.explain`."""
        y = data.scans["y"].to_numpy()[rows]
        windows = [self.windows[row] for row in rows]
        return series_gradients(self.model, probe, windows, self.coordinates, y, settings.n_steps)


def load_recordings_model(config: Config, data: TaskData, explained: np.ndarray) -> RecordingsModel:
    """Load the study's model, all embeddings, and the recordings of the rows `explained`.

    Raises
    ------
    TaskError
        If its parcels are not those of the task.
    """
    feed, ids = fitting_feed(config, data), data.scans["scan_id"]
    rows = {ids.iloc[row]: int(row) for row in explained}
    datasets = list(dict.fromkeys(data.scans["dataset"]))
    found = recordings(config, feed, datasets, set(rows))
    windows = {rows[scan_id]: np.ascontiguousarray(w) for scan_id, w in found}
    encoder = config.pretrain.encoder
    embedded = embedding(encoder, config, data, trained=True)
    return RecordingsModel(
        implementation_of(encoder).pretrained(config), embedded, windows, feed.coordinates
    )


def series_gradients(
    model: SeriesModel,
    probe: Probe,
    windows: Sequence[np.ndarray],
    coordinates: np.ndarray,
    y: np.ndarray,
    n_steps: int,
) -> Explained:
    """Integrated gradients of the probe's score of recordings, see `attribution.along_paths`.

    The path starts at a constant recording, 0 in all scaled values, which is the mean of many
    recordings. Contributions are summed over the timepoints of a parcel; the sum over all parcels
    is the difference of the score from that of the start.

    Parameters
    ----------
    windows : sequence of ndarray (n_windows, n_rois, window), float32
        Windows of each test scan.
    coordinates : ndarray (n_rois, 3), float32
        In mm.
    y : ndarray (n_scans,)
        Labels.
    n_steps : int
        Points of the path.
    """
    where = torch.from_numpy(coordinates).to(device())
    model = model.eval().to(device())

    def embedded(recordings: Tensor) -> Tensor:
        """Embed (B, n_windows, n_rois, window) as (B, d), the mean over windows."""
        with torch.random.fork_rng(devices=[]):
            # reference mode draws a token order: the same at each step, as for the probe
            torch.default_generator.manual_seed(0)
            found = model.encode(recordings.flatten(0, 1), where)
        return found.unflatten(0, (len(recordings), -1)).mean(1)

    whole = (torch.from_numpy(one)[None].to(device()) for one in windows)
    paths = ((one, torch.zeros_like(one)) for one in whole)
    of_roi, error = along_paths(
        probe.on(embedded), paths, n_steps, 1, lambda part: part.sum((0, 1, 3))
    )
    value = slope(np.stack(of_roi), y)
    return Explained(value, value, error)
