"""Where networks are trained and applied, and with which random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def device() -> torch.device:
    """Device for networks: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def reproducible(seed: int, n_threads: int) -> Iterator[None]:
    """Set torch's seed and number of threads, and restore both afterwards.

    Results are bit-identical on the CPU. Some CUDA kernels sum in a different order each time.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
