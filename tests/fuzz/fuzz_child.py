"""A process that reads inputs within limits of time and memory, so that a crash only ends this
process.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fuzz_judge import Input, Reader, judged, made, written
from fuzz_readers import READERS

torch.set_num_threads(1)  # a forked process does not have the threads of its parent
CPU = 20  # s of processor time for one input
WALL = 600  # s without an answer, also on a busy machine: a hang in code that no signal interrupts
MEMORY = int(1.5 * 2**30)  # bytes more than before the input
FORBIDDEN = {
    *("os.system", "os.exec", "os.posix_spawn", "pty.spawn", "subprocess.Popen"),
    *("socket.connect", "socket.getaddrinfo"),
}


class TooLongError(BaseException):
    """An input that took more than `CPU`; no reader catches it."""


class Answer(NamedTuple):
    """Outcome of an input: ``read``, ``refused`` or ``finding``, its cause, and CPU seconds."""

    outcome: str
    what: str
    cpu: float


class Child:
    """The process, as seen by its parent.

    Attributes
    ----------
    alive : bool
        Whether it can read another input.
    """

    def __init__(self, seed: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        answers, orders = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(answers[0])
            os.close(orders[1])
            try:
                _serve(os.fdopen(orders[0]), os.fdopen(answers[1], "w"), seed, self.folder)
            finally:
                os._exit(1)
        os.close(answers[1])
        os.close(orders[0])
        self._answers, self._orders = os.fdopen(answers[0]), os.fdopen(orders[1], "w")
        self.alive = True

    def read(self, name: str, number: int) -> Answer:
        """Let it read one input; if it dies or hangs, this is the outcome."""
        self._orders.write(f"{name} {number}\n")
        self._orders.flush()
        ready, _, _ = select.select([self._answers], [], [], WALL)
        line = self._answers.readline() if ready else ""
        if line:
            return Answer(*json.loads(line))
        status = self.stop()
        why = f"the process died (status {status})" if ready else f"hangs: {WALL} s without answer"
        return Answer("finding", why, 0.0)

    def stop(self) -> int:
        """End it and return its exit status, negative for a signal."""
        self.alive = False
        # a child that has closed its end of the pipe is about to exit
        time.sleep(0.2)
        done, status = os.waitpid(self.pid, os.WNOHANG)
        if not done:
            os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
        self._answers.close()
        self._orders.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return os.waitstatus_to_exitcode(status)


def _serve(orders: Any, answers: Any, seed: int, folder: Path) -> None:
    """Main loop of the child, until its parent ends it."""
    ran: list[str] = []
    sys.addaudithook(lambda event, _: ran.append(event) if event in FORBIDDEN else None)
    signal.signal(signal.SIGPROF, _too_long)
    logging.getLogger("nibabel.global").setLevel(logging.ERROR)
    inputs, work = folder / "inputs", folder / "work"
    work.mkdir()
    os.chdir(work)  # where code that runs would write its file
    tempfile.tempdir = str(work)
    for order in orders:
        name, number = order.split()
        reader = READERS[name]
        given = made(reader, int(number), seed)
        shutil.rmtree(inputs, ignore_errors=True)
        written(reader, given, inputs)
        ran.clear()
        answer = _attempt(reader, given, inputs)
        if ran:
            answer = answer._replace(outcome="finding", what=f"code was run: {sorted(set(ran))}")
        what = answer.what.replace(str(inputs), "FOLDER")
        answers.write(json.dumps(answer._replace(what=what)) + "\n")
        answers.flush()


def _attempt(reader: Reader, given: Input, folder: Path) -> Answer:
    """Judge one input within the limits."""
    start, base = time.process_time(), _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    none = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + 2 * MEMORY, none))
    signal.setitimer(signal.ITIMER_PROF, CPU)
    try:
        outcome, what = judged(reader, given, folder)
    except TooLongError:
        outcome, what = "finding", f"hangs: more than {CPU} s of the processor"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (none, none))
    if (peak := _memory("VmHWM") - base) > MEMORY:
        outcome, what = "finding", f"memory: {peak >> 20} MiB more than before"
    return Answer(outcome, what, time.process_time() - start)


def _memory(field: str) -> int:
    """Memory of this process in bytes, as reported by Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(s for s in lines if s.startswith(field)).split()[1]) << 10


def _too_long(*_: Any) -> None:
    raise TooLongError
