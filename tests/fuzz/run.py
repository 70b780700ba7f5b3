"""Harmed files for all readers: each is refused by name, or read as what it says.

    python tests/fuzz/run.py [--seconds S] [--inputs N] [--reader NAME ...] [--seed K] [--out TSV]

A finding is an error that the reader does not document, a refusal that names no file, a value that
differs from what the bytes say or from what was written, a hang, a crash, more memory than
`MEMORY`, or code that ran. Inputs are read in a child process; where that dies, another goes on
with the next input. What was found is written below `--found`, one folder per input, and grouped by
cause in the log. Every input is made from the seed, the reader's name and its number alone.
Exit status: 0 without findings, 1 with some.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]
os.environ.setdefault("OMP_NUM_THREADS", "1")

BLOCK = 25  # inputs of one reader in a row
CPU = 20  # s of the processor for one input
WALL = 300  # s without a word from the child: a hang in code that no signal ends
MEMORY = 1.5 * 2**30  # bytes above what the child has after its imports
COLUMNS = ("reader", "inputs", "read", "refused", "findings", "cpu_s")
LARGE = 2000  # characters of what is written of a finding
FORBIDDEN = {
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "socket.connect",
    "pty.spawn",
}


class TooLongError(BaseException):
    """An input that took more than `CPU`."""


def main() -> int:
    """Fuzz, print the table, and say what was found."""
    args = parsed()
    from fuzz_readers import READERS

    wanted = args.reader or list(READERS)
    if unknown := set(wanted) - set(READERS):
        print(f"no reader {sorted(unknown)}; there are {sorted(READERS)}", file=sys.stderr)
        return 2
    tallies = {name: Counter() for name in wanted}
    causes: dict[tuple[str, str], list[str]] = defaultdict(list)
    began, child = time.monotonic(), None
    least = args.inputs // len(wanted) // 4
    try:
        while (n := sum(t["inputs"] for t in tallies.values())) < args.inputs:
            if time.monotonic() - began > args.seconds:
                print(f"stopped after {args.seconds:g} s", flush=True)
                break
            # the reader that has had least of the processor; each gets a share of the inputs
            name = min(wanted, key=lambda n: (tallies[n]["inputs"] >= least, tallies[n]["cpu_s"]))
            size = min(BLOCK, args.inputs - n)
            child = child or Child(args.seed, args.found)
            if not child.block(name, tallies[name]["inputs"], size, tallies[name], causes):
                child = None
            if sum(t["inputs"] for t in tallies.values()) // 1000 > n // 1000:
                show(tallies, time.monotonic() - began)
    finally:
        if child is not None:
            child.stop()
    show(tallies, time.monotonic() - began, whole=True)
    tell(causes)
    if args.out:
        write(args.out, tallies)
    return 1 if causes else 0


def parsed() -> argparse.Namespace:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=3600.0, help="wall time, then it stops")
    parser.add_argument("--inputs", type=int, default=20_000, help="of all readers together")
    parser.add_argument("--reader", nargs="+", help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="table of counts")
    parser.add_argument("--found", type=Path, default=Path(tempfile.gettempdir()) / "fuzz-findings")
    return parser.parse_args()


class Child:
    """A process that reads inputs and says what became of each."""

    def __init__(self, seed: int, found: Path) -> None:
        self.found = found
        self.scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
        ours, theirs = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(ours[0])
                os.close(theirs[1])
                serve(
                    os.fdopen(theirs[0]), os.fdopen(ours[1], "w", buffering=1), seed, self.scratch
                )
            finally:
                os._exit(1)
        os.close(ours[1])
        os.close(theirs[0])
        self.answers, self.orders = os.fdopen(ours[0]), os.fdopen(theirs[1], "w", buffering=1)

    def block(self, name: str, first: int, size: int, tally: Counter, causes: dict) -> bool:
        """Read some inputs; False if the child is dead afterwards."""
        self.orders.write(f"{name} {first} {size}\n")
        for number in range(first, first + size):
            answer = self._answer()
            if answer is None:
                why = self._end()
                self._keep(name, number, {"what": why, "number": number}, causes)
                tally.update(inputs=1, findings=1)
                return False
            tally.update(inputs=1, cpu_s=answer["cpu_s"])
            tally.update(["findings" if answer["outcome"] == "finding" else answer["outcome"]])
            if answer["outcome"] == "finding":
                self._keep(name, number, answer, causes)
            self.orders.write("\n")  # the scratch folder may be emptied
        return True

    def _answer(self) -> dict[str, Any] | None:
        ready, _, _ = select.select([self.answers], [], [], WALL)
        line = self.answers.readline() if ready else ""
        return json.loads(line) if line else None

    def _end(self) -> str:
        """Why there is no answer; ends the child."""
        done, status = os.waitpid(self.pid, os.WNOHANG)
        if not done:
            time.sleep(1)
            done, status = os.waitpid(self.pid, os.WNOHANG)
        if done:
            return f"the process died ({os.waitstatus_to_exitcode(status)})"
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return f"hangs: nothing happened for {WALL} s"

    def _keep(self, name: str, number: int, answer: dict[str, Any], causes: dict) -> None:
        what = answer["what"].replace(str(self.scratch), "FOLDER")
        causes[name, cause(what)].append(f"{number}: {what}")
        folder = self.found / f"{name}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.scratch, folder, symlinks=True)
        about = answer | {"reader": name, "what": what[:LARGE]}
        (folder / "finding.json").write_text(json.dumps(about, indent=1))
        print(f"  {name} {number} ({answer.get('target')}): {what[:300]}", flush=True)

    def stop(self) -> None:
        """End the child."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        shutil.rmtree(self.scratch, ignore_errors=True)


def serve(orders: Any, answers: Any, seed: int, scratch: Path) -> None:
    """What the child does, until its parent ends."""
    from fuzz_judge import made, written
    from fuzz_readers import READERS

    ran: list[str] = []
    sys.addaudithook(lambda event, _: ran.append(event) if event in FORBIDDEN else None)
    signal.signal(signal.SIGPROF, _too_long)
    work = scratch.parent / f"{scratch.name}-work"  # where code that runs would leave its file
    work.mkdir()
    os.chdir(work)
    tempfile.tempdir = str(work)
    for order in orders:
        name, first, size = order.split()
        reader = READERS[name]
        before = len(reader.seeds)  # made before memory is counted
        for number in range(int(first), int(first) + int(size)):
            empty(scratch)
            given = made(reader, number, seed)
            written(reader, given, scratch)
            ran.clear()
            answer = attempt(reader, given, scratch)
            if ran and before:
                answer |= {"outcome": "finding", "what": f"code was run: {sorted(set(ran))}"}
            facts = {
                "number": number,
                "target": given.target,
                "seed": given.seed,
                "sealed": given.sealed,
            }
            answers.write(json.dumps(answer | facts) + "\n")
            orders.readline()


def attempt(reader: Any, given: Any, scratch: Path) -> dict[str, Any]:
    """Judge one input within limits of time and memory."""
    from fuzz_judge import judged

    start, base = time.process_time(), memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    size = int(memory("VmSize") + 2 * MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, CPU)
    try:
        outcome, what = judged(reader, given, scratch)
    except TooLongError:
        outcome, what = "finding", f"hangs: more than {CPU} s of the processor"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    peak = memory("VmHWM") - base
    if peak > MEMORY:
        outcome, what = "finding", f"memory: {peak / 2**20:.0f} MiB more than before"
    return {"outcome": outcome, "what": what, "cpu_s": time.process_time() - start}


def memory(field: str) -> float:
    """Bytes of this process, as Linux says."""
    line = next(
        s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(field)
    )
    return float(line.split()[1]) * 1024


def _too_long(*_: Any) -> None:
    raise TooLongError


def empty(folder: Path) -> None:
    """Remove what is in a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def cause(what: str) -> str:
    """What findings of one cause have in common: the line, or the first words."""
    head = what.split(": ")[0]
    return head if " at " in head else " ".join(what.split()[:8])


def show(tallies: dict[str, Counter], seconds: float, whole: bool = False) -> None:
    """Print the counts so far, of each reader at the end."""
    total = sum(tallies.values(), Counter())
    if whole:
        print(f"{'reader':18}{'inputs':>8}{'read':>8}{'refused':>9}{'findings':>10}{'cpu s':>8}")
        for name, t in tallies.items():
            print(
                f"{name:18}{t['inputs']:8}{t['read']:8}{t['refused']:9}{t['findings']:10}{t['cpu_s']:8.0f}"
            )
    print(
        f"{seconds:6.0f} s: {total['inputs']} inputs, {total['read']} read, {total['refused']} "
        f"refused, {total['findings']} findings",
        flush=True,
    )


def tell(causes: dict[tuple[str, str], list[str]]) -> None:
    """Print what was found, by cause."""
    for (name, _), found in sorted(causes.items(), key=lambda c: -len(c[1])):
        print(f"{name}: {len(found)} times, first {found[0][:400]}")


def write(path: Path, tallies: dict[str, Counter]) -> None:
    """Write the table of counts."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for name, tally in tallies.items():
            row = {c: tally[c] for c in COLUMNS[1:]}
            writer.writerow({"reader": name, **row, "cpu_s": f"{tally['cpu_s']:.1f}"})


if __name__ == "__main__":
    sys.exit(main())
