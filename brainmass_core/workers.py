"""Child processes that use one thread each and never outlive the job that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

SINGLE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def in_processes(
    function: Callable[..., Any], calls: dict[str, tuple], n_workers: int
) -> Iterator[tuple[str, Future]]:
    """Run calls in child processes; yield name and future of each as it ends.

    Parameters
    ----------
    function : callable
        Picklable.
    calls : dict
        Name of the call to its arguments, picklable.

    Raises
    ------
    concurrent.futures.process.BrokenProcessPool
        If a worker dies; raised here or by the futures.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(n_workers, mp_context=context, initializer=_die_with_parent)
    try:
        futures = {pool.submit(function, *args): name for name, args in calls.items()}
        for future in as_completed(futures):
            yield futures[future], future
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _die_with_parent() -> None:
    """End this worker when the job is killed; else it would go on beside the job's next run."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: int = parent.sentinel) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread per worker, read when it starts: parallel over scans, and reproducible."""
    before = {name: os.environ.get(name) for name in SINGLE_THREAD}
    os.environ.update(dict.fromkeys(SINGLE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
