"""Training data of BrainLM: windows of scaled time series, and their masks."""

from __future__ import annotations

import heapq
import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brainmass_core.config import Config
from brainmass_core.models.series import Mask, SeriesModel
from brainmass_core.pfc.draw import seeds_of
from brainmass_core.pipeline.hashing import stable_hash
from brainmass_core.pretrain.data.index import Group, Index, ShardError
from brainmass_core.pretrain.data.order import generator
from brainmass_core.pretrain.data.stream import Batches, read_checked, read_series
from brainmass_core.timeseries.robust_scaling import RobustScaling, ScalingError, fit
from brainmass_core.timeseries.sampling import n_resampled, resampled

log = logging.getLogger(__name__)
F4 = 4  # bytes per value
WINDOW = 1  # separates the random streams of windows from those of views
FITTED = 1000  # maximum number of scans for fitting the scaling: 340 MB for 424 parcels


@dataclass(frozen=True)
class WindowBatch:
    """One rank's slice of a global batch of windows.

    Attributes
    ----------
    series : ndarray (n, n_rois, window), float32
        Scaled.
    coordinates : Tensor (n_rois, 3)
        Coordinates of the parcels, MNI, in mm.
    mask : Mask
    scan_ids : list of str
        Scans of the complete global batch, for messages.
    """

    series: np.ndarray
    coordinates: Tensor
    mask: Mask
    scan_ids: list[str]

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor, Mask]:
        """Series (B, n_rois, window), coordinates (n_rois, 3) and mask for the model's forward, on
        a device.
        """
        series, coordinates = torch.from_numpy(self.series).to(device), self.coordinates.to(device)
        return series, coordinates, self.mask._replace(visible=self.mask.visible.to(device))


@dataclass(frozen=True)
class Windows:
    """How windows are cut and masked.

    Attributes
    ----------
    length : int
        Timepoints.
    ratio : float
        Fraction of the tokens that is hidden.
    future_share : float
        Fraction of the steps that hide the last `future_steps` timepoints instead.
    t_r : float or None
        Repetition time in s to which series are resampled; None: no resampling.
    """

    length: int
    ratio: float
    future_share: float
    future_steps: int
    t_r: float | None


def windows_of(config: Config) -> Windows:
    """As configured."""
    s = config.pretrain.windows
    return Windows(s.window, s.mask_ratio, s.future_share, s.future_steps, s.t_r)


class WindowStream(Batches):
    """Batches of windows; position and mask of a window follow from seed, epoch and scan.

    Parameters
    ----------
    model : SeriesModel
        Makes the masks; its weights are not used.
    coordinates : Tensor (n_rois, 3)
        See `WindowBatch`.
    scaling : RobustScaling

    Raises
    ------
    ShardError
        If a mask would hide nothing or everything.
    """

    def __init__(
        self,
        index: Index,
        seed: int,
        batch_size: int,
        windows: Windows,
        model: SeriesModel,
        coordinates: Tensor,
        scaling: RobustScaling,
        rank: int = 0,
        n_ranks: int = 1,
        memory: int = 0,
    ) -> None:
        self.windows, self.model = windows, model
        self.coordinates, self.scaling = coordinates, scaling
        self.n_tokens = tokens_of(model, index.n_rois, windows)
        super().__init__(index, seed, batch_size, rank, n_ranks, memory)
        self._hashes = [seeds_of(map(stable_hash, g.scan_ids)) for g in index.groups]

    def hides_future(self, step: int) -> bool:
        """Whether a step hides the end of the windows, the same for all ranks."""
        return float(generator(self.seed, step).random()) < self.windows.future_share

    def _batch(self, step: int, slots: np.ndarray, mine: slice, ids: list[str]) -> WindowBatch:
        slots, w = slots[mine], self.windows
        shape = (len(slots), self.index.n_rois, w.length)
        cut, noise = np.empty(shape, np.float32), np.empty((len(slots), self.n_tokens), np.float32)
        places = slots[:, 1:].tolist()
        hashes = np.array([self._hashes[group][place] for group, place in places], np.uint64)
        seeds = seeds_of([self.seed], [WINDOW], slots[:, 0], hashes)
        for row, ((group, place), seed) in enumerate(zip(places, seeds.tolist(), strict=True)):
            rng, series = np.random.default_rng(seed), self._scan(group, place)
            start = rng.integers(len(series) - w.length + 1)
            cut[row] = series[start : start + w.length].T
            noise[row] = rng.random(self.n_tokens, np.float32)
        if self.hides_future(step):
            mask = self.model.future_mask(*shape, w.future_steps)
        else:
            mask = self.model.noise_mask(torch.from_numpy(noise), w.ratio)
        return WindowBatch(cut, self.coordinates, mask, ids)

    def _bytes(self, group: Group) -> int:
        return sum(lengths_of(group, self.windows.t_r)) * self.index.n_rois * F4

    def _read(self, group: Group) -> list[np.ndarray]:
        """Scaled series (n_timepoints, n_rois); parcels without data are 0."""
        t_r, found = self.windows.t_r, zip(read_series(group), group.t_rs, strict=True)
        return [prepared(x, own, t_r, self.scaling) for x, own in found]


def tokens_of(model: SeriesModel, n_rois: int, windows: Windows) -> int:
    """Number of tokens of a window; check that a mask hides some but not all.

    Raises
    ------
    ShardError
        If it would hide all or none.
    """
    n = model.n_tokens(n_rois, windows.length)
    try:
        left = model.noise_mask(torch.arange(n)[None].float(), windows.ratio).visible.shape[1]
    except ValueError as error:
        raise ShardError(f"pretrain.brainlm.mask_ratio: {error}") from None
    if left == n:
        raise ShardError(
            f"pretrain.brainlm.mask_ratio {windows.ratio} hides none of the {n} tokens of "
            f"{n_rois} parcels and {windows.length} timepoints; use a larger one"
        )
    return n


def lengths_of(group: Group, t_r: float | None) -> list[int]:
    """Number of timepoints of a group's scans at a repetition time (s); None: their own."""
    if t_r is None:
        return list(group.lengths)
    pairs = zip(group.lengths, group.t_rs, strict=True)
    return [n_resampled(n, own or t_r, t_r) for n, own in pairs]


def series_of(group: Group, t_r: float | None) -> list[np.ndarray]:
    """Series (n_timepoints, n_rois) of a group's scans at a repetition time (s).

    Parameters
    ----------
    t_r : float, optional
        s; by default each series keeps its own. A series without one is assumed to have `t_r`.

    Returns
    -------
    list of ndarray (n_timepoints, n_rois)
    """
    pairs = zip(read_series(group), group.t_rs, strict=True)
    return [x if t_r is None else resampled(x, own or t_r, t_r) for x, own in pairs]


def prepared(
    series: np.ndarray, own: float | None, t_r: float | None, scaling: RobustScaling
) -> np.ndarray:
    """Prepare one recording as input of a BrainLM, in training and later.

    Parameters
    ----------
    series : ndarray (n_timepoints, n_rois)
    own, t_r : float or None
        Repetition times of the recording and of the model, s; None: no resampling.

    Returns
    -------
    ndarray (n_resampled, n_rois), float32
        Scaled; parcels without data are 0.
    """
    x = series if t_r is None else resampled(series, own or t_r, t_r)
    return np.nan_to_num(scaling.apply(x), nan=0.0)


def fit_scaling(index: Index, seed: int, t_r: float | None, limit: int = FITTED) -> RobustScaling:
    """Fit the scaling of parcels to the scans of an index, all of which are for pre-training.

    From more than `limit` scans, those with the smallest hash of seed and name are used, so that
    memory is bounded and the result does not depend on batches or order.

    Raises
    ------
    ShardError
        If a parcel does not vary.
    """
    names = (s for g in index.groups for s in g.scan_ids)
    chosen = set(heapq.nsmallest(limit, names, key=lambda s: (stable_hash(str(seed), s), s)))
    log.info("fitting the scaling to %d of %d scans", len(chosen), index.n_scans)

    def recordings():
        for group in index.groups:
            if chosen.isdisjoint(group.scan_ids):
                continue
            series = read_checked(group, lambda g: series_of(g, t_r))
            yield from (x for s, x in zip(group.scan_ids, series, strict=True) if s in chosen)

    try:
        return fit(recordings())
    except ScalingError as error:
        raise ShardError(
            f"the scaling of the series cannot be fitted to the {len(chosen)} scans: {error}; "
            "remove these parcels from the atlas, or check the series"
        ) from None
