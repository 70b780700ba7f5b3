"""Worker processes with one thread each that end with the job that started them.

Workers are forked from a server process that has imported the stage and has no threads, so that
imports happen only once and no lock of the job is copied.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any

SINGLE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
PATIENCE = 5.0  # s until a worker without work is killed
START_LIMIT = 900.0  # s for the imports, also on a slow network disk


class WorkerError(RuntimeError):
    """A worker process could not be started."""


@dataclass(frozen=True)
class Died:
    """Outcome of a call whose process ended before it returned.

    Attributes
    ----------
    code : int
        Exit status; that of a signal is negative.
    """

    code: int

    @property
    def cause(self) -> str:
        """The signal's name, or the exit status."""
        if self.code >= 0:
            return f"exit status {self.code}"
        with suppress(ValueError):
            return signal.Signals(-self.code).name
        return f"signal {-self.code}"


@dataclass(frozen=True)
class TimedOut:
    """Outcome of a call that was stopped after `seconds`."""

    seconds: float

    @property
    def cause(self) -> str:
        """Waiting time, as text."""
        return f"not ready after {self.seconds:g} s"


def in_processes(
    function: Callable[..., Any],
    calls: dict[str, tuple],
    n_workers: int,
    timeout: float | None = None,
    preload: tuple[str, ...] = (),
) -> Iterator[tuple[str, Any]]:
    """Run calls in worker processes; yield name and outcome of each as it ends.

    A call whose process crashes or takes too long does not affect other calls.

    Parameters
    ----------
    function : callable
        Picklable.
    calls : dict
        Name of the call to its arguments, picklable.
    timeout : float, optional
        Time limit of a call in seconds. Then its process and the programs it started are killed.
    preload : tuple of str
        Modules to import once for all workers.

    Yields
    ------
    name : str
    outcome : Died, TimedOut or what the function returned

    Raises
    ------
    WorkerError
        If a worker ends before its first call.
    Exception
        What the function raises.
    """
    context = _context(preload)
    left = deque(calls.items())
    workers = [_Worker(context, function) for _ in range(min(n_workers, len(calls)))]
    try:
        while workers:
            for worker in _with_news(workers):
                name, outcome = worker.name, worker.outcome()
                if isinstance(outcome, Died | TimedOut):
                    worker.kill()
                    workers.remove(worker)
                    if name is None:
                        raise WorkerError(f"a worker process could not start ({outcome.cause})")
                    workers += [_Worker(context, function)] if left else []
                elif left:
                    worker.begin(*left.popleft(), timeout)
                else:
                    worker.end()
                    workers.remove(worker)
                if name is not None:
                    yield name, outcome
    finally:
        for worker in workers:
            worker.kill()


def _context(preload: tuple[str, ...]) -> Any:
    """Multiprocessing context; without a fork server, which needs a socket, it is slower."""
    # the server must have no threads when it forks, but Arrow's default allocator has one
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *preload])
    try:
        forkserver.ensure_running()
    except OSError:  # the path of the temporary folder is too long for a socket, or it is full
        return multiprocessing.get_context("spawn")
    return context


class _Worker:
    """A worker process, as seen by its parent.

    Attributes
    ----------
    name : str or None
        Name of its current call; None before the first.
    deadline : float
        Time limit of the call, by the monotonic clock.
    """

    def __init__(self, context: Any, function: Callable[..., Any]) -> None:
        self.name: str | None = None
        self.timeout = START_LIMIT
        self.deadline = time.monotonic() + self.timeout
        self.pipe, theirs = context.Pipe()
        here = os.getcwd(), dict(os.environ)
        self.process = context.Process(target=_serve, args=(theirs, function, *here))
        try:
            self.process.start()
        except (OSError, EOFError) as error:
            raise WorkerError(f"a worker process could not start ({error})") from error
        finally:
            theirs.close()

    def begin(self, name: str, arguments: tuple, timeout: float | None) -> None:
        """Send it a call."""
        self.name, self.timeout = name, math.inf if timeout is None else timeout
        self.deadline = time.monotonic() + self.timeout
        with suppress(OSError):  # it has just ended, which the next poll will show
            self.pipe.send(arguments)

    def outcome(self) -> Any:
        """Outcome of the call, or of the start; raises what the function raised."""
        if not self.pipe.poll() and self.process.is_alive():
            return TimedOut(self.timeout)
        try:
            sound, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(PATIENCE)
            self.kill()
            return Died(self.process.exitcode or 0)
        if not sound:
            raise value
        return value

    def end(self) -> None:
        """Stop it when there is no more work."""
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join(PATIENCE)
        self.kill()

    def kill(self) -> None:
        """Kill it and all programs that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _with_news(workers: list[_Worker]) -> list[_Worker]:
    """Wait until a worker sends a result, ends, or exceeds its time limit."""
    while True:
        soonest = min(w.deadline for w in workers)
        pause = None if math.isinf(soonest) else max(0.0, soonest - time.monotonic())
        said = wait([x for w in workers for x in (w.pipe, w.process.sentinel)], pause)
        now = time.monotonic()
        found = [
            w for w in workers if w.pipe in said or w.process.sentinel in said or w.deadline <= now
        ]
        if found:
            return found


def _serve(
    pipe: Connection, function: Callable[..., Any], folder: str, environment: dict[str, str]
) -> None:
    """Process calls until there are no more; runs in the worker.

    It leads a process group, so that it can be killed with the programs that it started, and uses
    the current folder and environment of its parent.
    """
    os.setpgid(0, 0)
    _die_with_parent()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    answer: tuple[bool, Any] = True, None  # signals that it is ready
    with suppress(EOFError, BrokenPipeError):  # the parent has ended
        while True:
            pipe.send(answer)
            if (arguments := pipe.recv()) is None:
                return
            try:
                answer = True, function(*arguments)
            except Exception as error:
                answer = False, error


def _die_with_parent() -> None:
    """Let this worker end when the job is killed; otherwise it would continue during the next
    run."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: int = parent.sentinel) -> None:
        wait([sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Environment with one thread per worker, for reproducibility."""
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
