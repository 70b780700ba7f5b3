"""Prepare the next batches in a thread while a step runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
AHEAD = 2  # one is used while the other is being prepared


def prefetched(make: Callable[[int], T], steps: Iterable[int], ahead: int = AHEAD) -> Iterator[T]:
    """Yield ``make(step)`` for each step, prepared up to `ahead` steps in advance.

    Parameters
    ----------
    make : callable
        Called in one thread, in the order of `steps`. Its exceptions are raised here, at its step.
    """
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        try:
            for step in steps:
                waiting.append(thread.submit(make, step))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
