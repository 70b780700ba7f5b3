"""Inputs that once were findings, and what has to become of them.

    python tests/fuzz/fuzz_corpus.py READER NUMBER CAUSE [--seed K]

writes one. A file is called ``OUTCOME--CAUSE--SEED[s]--TARGET``: what has to become of it
(``refused``, or ``read``), why it is there, the number of the sound folder that the other files
come from (with an ``s`` if checksums are written anew), and the changed file, with ``!`` for a
slash.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from fuzz_judge import Input, Reader, judged, made, written
from fuzz_readers import READERS

CORPUS = Path(__file__).parent / "corpus"


def kept(file: Path) -> tuple[Reader, Input, str]:
    """Reader, input and expected outcome of a file of the corpus."""
    reader = READERS[file.parent.name]
    outcome, _, number, target = file.name.split("--", 3)
    sealed = number.endswith("s")
    target = target.replace("!", "/")
    exact = not sealed and reader.covered
    return reader, Input(int(number.rstrip("s")), target, file.read_bytes(), sealed, exact), outcome


def keep(reader: Reader, case: Input, cause: str) -> Path:
    """Write an input to the corpus with what becomes of it now, which must be no finding."""
    with tempfile.TemporaryDirectory() as name:
        written(reader, case, Path(name))
        verdict = judged(reader, case, Path(name))
    assert verdict.outcome != "finding", verdict.what
    number = f"{case.seed}{'s' if case.sealed else ''}"
    target = case.target.replace("/", "!")
    path = CORPUS / reader.name / f"{verdict.outcome}--{cause}--{number}--{target}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case.content)
    return path


def main() -> int:
    """Keep one input of a run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("number", type=int)
    parser.add_argument("cause", help="words with hyphens")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    reader = READERS[args.reader]
    print(keep(reader, made(reader, args.number, args.seed), args.cause))
    return 0


if __name__ == "__main__":
    sys.exit(main())
