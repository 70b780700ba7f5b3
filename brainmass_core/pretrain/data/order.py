"""The scans of each step: the concatenated orders of all epochs, divided into equal batches.

Everything follows from (seed, step) and the sizes of the blocks, see `index.Index`; it does not
depend on ranks, workers, batches or earlier steps. Such a block is called "group" here.
"""

from __future__ import annotations

import numpy as np

from brainmass_core.pfc.draw import distinct
from brainmass_core.pretrain.data.index import ShardError

# Size of the shuffle buffer: 512 scans x 8 views x 9.9 kB (100 ROIs) = 41 MB
BUFFER_SCANS = 512
ORDER, STEP = 1, 2  # separate random streams of epoch order and batch content


def epoch_order(group_sizes: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """The order of all scans in one epoch: row groups shuffled, scans shuffled in a buffer.

    Parameters
    ----------
    group_sizes : ndarray (n_groups,)
        Scans per row group.

    Returns
    -------
    ndarray (n_scans, 2)
        Group and position in it; each scan occurs once.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, ORDER, epoch]))
    groups = rng.permutation(len(group_sizes))
    sizes = group_sizes[groups]
    buffer = (np.cumsum(sizes) - sizes) // BUFFER_SCANS
    order = []
    for number in np.unique(buffer):
        members = groups[buffer == number]
        group = np.repeat(members, group_sizes[members])
        place = np.concatenate([np.arange(n) for n in group_sizes[members]])
        order.append(rng.permutation(np.stack([group, place], 1)))
    return np.concatenate(order)


def global_batch_size(wanted: int, n_scans: int, n_ranks: int) -> int:
    """Scans per step over all ranks: as configured, or nearly all scans if there are fewer.

    With fewer scans than `wanted` it is a multiple of 2, 4 or 8, so that it is the same for any
    such number of ranks; no scan is lost, because batches continue into the next epoch.

    Raises
    ------
    ShardError
        If a rank would have fewer than two scans, which batch norm needs, or unequal shares.
    """
    if wanted % n_ranks:
        raise ShardError(
            f"pretrain.batch_size {wanted} cannot be split over {n_ranks} processes; choose a "
            f"multiple, such as {max(2, wanted // n_ranks) * n_ranks}"
        )
    unit = 8 if n_scans >= 16 else 4 if n_scans >= 8 else 2
    size = wanted if wanted <= n_scans else n_scans // unit * unit
    size = size // n_ranks * n_ranks
    if size < 2 * n_ranks:
        raise ShardError(
            f"found {n_scans} scans to pre-train on and batch_size {wanted}, expected at least 2 "
            f"scans for each of {n_ranks} processes; add data or use fewer processes"
        )
    return size


class Sequence:
    """The training sequence: the concatenated orders of all epochs, in global batches.

    Parameters
    ----------
    group_sizes : ndarray (n_groups,)
        Scans per row group.
    """

    def __init__(self, group_sizes: np.ndarray, seed: int, batch_size: int) -> None:
        self.group_sizes, self.seed, self.batch_size = group_sizes, seed, batch_size
        self.n_scans = int(group_sizes.sum())
        self._orders: dict[int, np.ndarray] = {}

    def n_steps(self, epochs: int) -> int:
        """Number of full batches in a number of epochs, at least one; the remainder is not used."""
        return max(1, epochs * self.n_scans // self.batch_size)

    def epoch_of(self, step: int) -> int:
        """Epoch of the first scan of a step."""
        return step * self.batch_size // self.n_scans

    def slots(self, start: int, stop: int) -> np.ndarray:
        """Elements start to stop of the sequence, (stop - start, 3): epoch, group, position in
        it."""
        epochs = range(start // self.n_scans, (stop - 1) // self.n_scans + 1)
        self._orders = {e: o for e, o in self._orders.items() if e in epochs}
        parts = []
        for epoch in epochs:
            if epoch not in self._orders:
                self._orders[epoch] = epoch_order(self.group_sizes, self.seed, epoch)
            first = max(0, start - epoch * self.n_scans)
            part = self._orders[epoch][first : stop - epoch * self.n_scans]
            parts.append(np.insert(part, 0, epoch, axis=1))
        return np.concatenate(parts)

    def batch(self, step: int) -> np.ndarray:
        """The global batch of a step, (batch_size, 3), ordered by epoch, group and position.

        Losses are means over the batch, so its order is arbitrary; with this order each rank's
        contiguous slice contains few groups.
        """
        slots = self.slots(step * self.batch_size, (step + 1) * self.batch_size)
        return slots[np.lexsort(slots.T[::-1])]

    def upcoming(self, step: int) -> np.ndarray:
        """Elements (n, 3) that the steps from `step` on will need: those of its shuffle buffers."""
        ahead = max(2 * BUFFER_SCANS, self.batch_size)
        start = step * self.batch_size
        # not beyond the end of the requested epoch: its order is not computed in advance
        stop = max(start + self.batch_size, (start // self.n_scans + 1) * self.n_scans)
        return self.slots(start, min(start + ahead, stop))


def generator(seed: int, step: int) -> np.random.Generator:
    """Random generator for the content of a step: views and masked ROIs."""
    return np.random.default_rng(np.random.SeedSequence([seed, STEP, step]))


def draw(rng: np.random.Generator, n: int, choices: int, k: int) -> np.ndarray:
    """Draw (n, k) distinct numbers below `choices` in each row, int64, in random order.

    Returns
    -------
    ndarray (n, k) of int64
    """
    return distinct(int(rng.integers(2**63)), n, k, choices)
