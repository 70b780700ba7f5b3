"""Fault drill: run a reduced study again and again, with one fault each time at a random moment.

After each fault the same command is given until it ends. Then tables and weights must equal those
of an undisturbed run byte for byte (apart from timings and paths), no process and no other file may
be left, and no scan that was published before the fault may have been done again. At last every
atomic write fails in turn, for every n (`sweep`).

Run: ``make faults``, or with ``PYTHONPATH=tests:tests/workflow`` ``python tests/faults/drill.py
--help``. Faults of the disk need root.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fault_study
import psutil
import study
from faults import KINDS, Kind, Run, replace_series

HERE = Path(__file__).parent
MOMENTS = 20  # attempts to find a moment at which there is something to harm
DISK = "64m"
ORPHAN_SECONDS = 60  # in which what was left alone must end by itself


@dataclass(frozen=True)
class Outcome:
    """What became of a study after a fault; `wrong` is empty if all was right."""

    wrong: str
    attempts: int
    lost: int  # published scans that were done again
    seconds: float


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run made: tables and weights, and the names of all files."""

    results: dict[str, object]
    names: set[str]

    @classmethod
    def of(
        cls, folder: Path, data: Path, change: Callable[[Path], None] | None = None
    ) -> Reference:
        """Run a study in `folder`, with data that `change` may change, and remove it."""
        with fresh(folder, data):
            if change is not None:
                change(folder)
            fault_study.finish(folder, attempts=1)
            failed = fault_study.failed(folder)
            assert not failed, f"in a run without a fault: {failed}"
            return cls(fault_study.results(folder), fault_study.names(folder))


def main() -> int:
    """Run the drill and print the table."""
    args = parsed()
    with tempfile.TemporaryDirectory(prefix="faults-", dir=args.where) as name:
        base = Path(name)
        folder, data = base / "run", base / "data"
        fault_study.write_data(data)
        right, other = Reference.of(folder, data), Reference.of(folder, data, replace_series)
        outcomes: dict[str, list[Outcome]] = defaultdict(list)
        for kind in args.kinds:
            if KINDS[kind].needs_disk and os.geteuid() != 0:
                print(f"{kind}: not tried, mounting needs root")
                continue
            for time_ in range(args.times):
                chance = random.Random(f"{args.seed} {kind} {time_}")
                reference = other if KINDS[kind].other_results else right
                outcome = one(folder, data, KINDS[kind], chance, reference)
                outcomes[kind].append(outcome)
                print(f"{kind} {time_ + 1}: {outcome.wrong or 'right'}", flush=True)
        if args.sweep:
            outcomes["the n-th write fails"] = list(sweep(folder, data, right, args.sweep))
    show(outcomes)
    return any(o.wrong for found in outcomes.values() for o in found)


def parsed() -> argparse.Namespace:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--times", type=int, default=5, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument(
        "--sweep", type=int, default=1, metavar="STEP", help="every STEP-th write fails; 0: none"
    )
    parser.add_argument("--where", type=Path, help="folder for the studies")
    return parser.parse_args()


@contextmanager
def fresh(folder: Path, data: Path, disk: bool = False) -> Iterator[Path | None]:
    """The study without results, on a small file system of its own if `disk`."""
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if disk:
        subprocess.run(mounted, check=True)
    try:
        fault_study.write(folder, data)
        yield folder if disk else None
    finally:
        for process in fault_study.processes(folder):
            process.kill()
        if disk:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder)


def one(
    folder: Path, data: Path, kind: Kind, chance: random.Random, reference: Reference
) -> Outcome:
    """Run the study with one fault, then to its end, and judge it."""
    for _ in range(MOMENTS):
        with fresh(folder, data, kind.needs_disk) as disk:
            moment = chance.randrange(len(reference.names))
            run = Run(folder, fault_study.start(folder), chance, disk)
            reached = run.until(lambda r=run, m=moment: len(fault_study.names(r.folder)) >= m)
            if not reached or not kind.does(run):
                continue
            before = fault_study.recorded(folder) if kind.spares else {}
            run.snakemake.wait()
            return judged(folder, kind, reference, before)
    return Outcome(f"no moment found in {MOMENTS} runs", 0, 0, 0.0)


def judged(folder: Path, kind: Kind, reference: Reference, before: dict) -> Outcome:
    """Give the same command until it ends, and compare."""
    began = time.monotonic()
    try:
        finish = fault_study.finish_with_remedies if kind.damages else fault_study.finish
        attempts = finish(folder)
        if kind.late:  # scans may be recorded as failed, which is right
            command = [sys.executable, "-m", "brainmass_core.cli", "retry"]
            subprocess.run(command, cwd=folder, env=study.environment(), check=True)
            attempts += fault_study.finish(folder)
    except (AssertionError, subprocess.SubprocessError) as error:
        return Outcome(str(error)[-2000:], 0, 0, time.monotonic() - began)
    seconds, after = time.monotonic() - began, fault_study.recorded(folder)
    lost = sum(after.get(scan) != took for scan, took in before.items())
    wrong = [*differences(folder, reference), *leftovers(folder, reference)]
    wrong += [f"{lost} published scans were done again"] if lost and not kind.late else []
    return Outcome("; ".join(wrong), attempts, lost, seconds)


def differences(folder: Path, reference: Reference) -> Iterator[str]:
    """Tables and weights that are not those of the undisturbed run."""
    ours, theirs = fault_study.results(folder), reference.results
    if ours.keys() != theirs.keys():
        yield f"other tables: {sorted(ours.keys() ^ theirs.keys())}"
    elif changed := [name for name in ours if ours[name] != theirs[name]]:
        yield f"other contents: {changed}"


def leftovers(folder: Path, reference: Reference) -> Iterator[str]:
    """Processes and files that an undisturbed run does not leave."""
    _, alive = psutil.wait_procs(fault_study.processes(folder), ORPHAN_SECONDS)
    if alive:
        yield f"processes left: {[' '.join(p.cmdline())[:100] for p in alive]}"
    if litter := fault_study.names(folder) - reference.names:
        yield f"files left: {sorted(litter)[:5]}"


def sweep(folder: Path, data: Path, reference: Reference, step: int) -> Iterator[Outcome]:
    """Fail the n-th atomic write of a run, for every n, as a full disk does, then go on."""
    n = 1
    while True:
        with fresh(folder, data):
            counter = folder / "writes"
            hook = {"BRAINMASS_FAILING_WRITE": json.dumps({"n": n, "counter": str(counter)})}
            path = os.pathsep.join([str(HERE / "hook"), os.environ.get("PYTHONPATH", "")])
            status = fault_study.start(folder, **hook, PYTHONPATH=path).wait()
            n_writes = len(counter.read_bytes()) if counter.exists() else 0
            if n_writes < n:
                assert status == 0, (folder / "run.log").read_text()[-3000:]
                print(f"the n-th write fails: {n_writes} writes, every {step}. tried", flush=True)
                return
            kind = Kind(lambda _: True)
            outcome = judged(folder, kind, reference, fault_study.recorded(folder))
            print(f"write {n} fails: {outcome.wrong or 'right'}", flush=True)
            yield outcome
        n += step


def show(outcomes: dict[str, list[Outcome]]) -> None:
    """Print the table of kinds."""
    print(f"\n{'kind':24}{'times':>6}{'right':>7}{'runs':>6}{'done again':>12}{'s':>7}")
    for kind, found in outcomes.items():
        right = sum(not o.wrong for o in found)
        numbers = f"{len(found):6}{right:7}{sum(o.attempts for o in found):6}"
        lost, seconds = sum(o.lost for o in found), sum(o.seconds for o in found)
        print(f"{kind:24}{numbers}{lost:12}{seconds:7.0f}")


if __name__ == "__main__":
    sys.exit(main())
