"""Give damaged files to all readers: each must be refused by name, or read correctly.

    make fuzz [INPUTS=N] [SEED=K] [FOUND=FOLDER]
    python tests/fuzz/run.py [--inputs N] [--seed K] [--reader NAME ...] [--found FOLDER]
    python tests/fuzz/run.py --seed K --reader NAME --number N

The last form reads one input again. A finding is an error that the reader does not document, a
refusal that names no file, a value that differs from what the bytes say or from what was written,
a hang, a crash, too much memory, or code that ran. An input depends on the seed, the reader's name
and the input's number only. Exit status: 0 without findings, 1 with some.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from fuzz_child import Answer, Child
from fuzz_judge import made
from fuzz_readers import READERS

BLOCK = 25  # inputs of one reader in a row
LARGE = 2000  # characters that are printed of a finding
Tallies = dict[str, Counter[str]]
Causes = dict[tuple[str, str], list[str]]


def main() -> int:
    """Fuzz, and print the table and the findings."""
    args = parsed()
    if args.number is not None:
        return replay(args.reader[0], args.number, args.seed)
    tallies: Tallies = {name: Counter() for name in args.reader}
    causes: Causes = defaultdict(list)
    share, more = divmod(args.inputs, len(tallies))
    wanted = {name: share + (i < more) for i, name in enumerate(tallies)}
    began, child = time.monotonic(), Child(args.seed)
    for first in range(0, max(wanted.values()), BLOCK):
        for name, tally in tallies.items():
            for number in range(first, min(first + BLOCK, wanted[name])):
                answer = child.read(name, number)
                tally.update({"inputs": 1, answer.outcome: 1, "ms": round(1000 * answer.cpu)})
                if answer.outcome == "finding":
                    causes[name, cause(answer.what)].append(f"{number}: {answer.what}")
                    keep(args.found, name, number, args.seed, answer)
                if not child.alive:
                    child = Child(args.seed)
        total = sum(tallies.values(), Counter())
        print(f"{total['inputs']} inputs, {total['finding']} findings", flush=True)
    child.stop()
    show(tallies, time.monotonic() - began)
    for (name, _), found in sorted(causes.items(), key=lambda c: -len(c[1])):
        print(f"{name}: {len(found)} times, first {found[0][:400]}")
    if causes:
        print(f"findings are in {args.found}")
    return 1 if causes else 0


def parsed() -> argparse.Namespace:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="of all readers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--found", type=Path, default=Path(tempfile.gettempdir()) / "fuzz-findings")
    parser.add_argument("--number", type=int, help="read only this input of the reader")
    return parser.parse_args()


def replay(name: str, number: int, seed: int) -> int:
    """Read one input and print its outcome."""
    child = Child(seed)
    answer = child.read(name, number)
    child.stop()
    print(f"{name} {number} ({made(READERS[name], number, seed).target}): {answer.outcome}")
    print(answer.what)
    return answer.outcome == "finding"


def keep(found: Path, name: str, number: int, seed: int, answer: Answer) -> None:
    """Write a finding: the changed file, the outcome, and the command that reproduces it."""
    given = made(READERS[name], number, seed)
    folder = found / f"{name}-{seed}-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / Path(given.target).name).write_bytes(given.content)
    command = f"python tests/fuzz/run.py --seed {seed} --reader {name} --number {number}"
    about = {"what": answer.what[:LARGE], "file": given.target, "replay": command}
    (folder / "finding.json").write_text(json.dumps(about, indent=1))
    print(f"  {name} {number} ({given.target}): {answer.what[:300]}", flush=True)


def cause(what: str) -> str:
    """Common part of findings with one cause: the line, or the first words."""
    head = what.split(": ")[0]
    return head if " at " in head else " ".join(what.split()[:8])


def show(tallies: Tallies, seconds: float) -> None:
    """Print the counts by reader."""
    print(f"{'reader':18}{'inputs':>8}{'accepted':>10}{'refused':>9}{'findings':>10}{'cpu s':>8}")
    for name, t in [*tallies.items(), ("all", sum(tallies.values(), Counter()))]:
        counts = f"{t['inputs']:8}{t['read']:10}{t['refused']:9}{t['finding']:10}"
        print(f"{name:18}{counts}{t['ms'] / 1000:8.0f}")
    print(f"{seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
