"""Do the tests detect planted faults? One fault at a time, in a copy of the package.

    python tests/mutations/run.py --out FILE.tsv [--checkout DIR] [-m EXPRESSION] [--only TEXT ...]

Each fault of `planted.PLANTED` is written into a copy of the checkout, which comes first on the
path of Python, and the tests that should notice run there. First the same tests must pass without
a fault. Results are appended to the file, and what stands there is not run again. A fault that
survives the files it names meets the whole folders of tests that they lie in, unless `--narrow`.
Libraries are imported once, and each run of the tests is a fork of this process: imports would
take most of the time.
Exit status: 0 if every fault was caught, 1 if some survived, 2 if some could not be tried.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import shutil
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, NamedTuple

from planted import PLANTED, Planted

HERE = Path(__file__).resolve().parents[2]
COLUMNS = ("id", "outcome", "first_failure", "cpu_s", "selection")
LEFT_OUT = (".git", ".venv", ".hypothesis", ".snakemake", "results", "demo", "_build")
CACHES = (".*_cache", "*.egg-info", "*.nbi", "*.nbc")  # numba's cache only checks its own file
HANGS = 1800  # s after which a run is ended
LOOKS = 0.2  # s between two checks of a run
LIBRARIES = (
    *("pytest", "numba", "torch", "torch.utils.tensorboard", "pyarrow.parquet", "pandas"),
    *("scipy.stats", "scipy.signal", "scipy.ndimage", "scipy.interpolate", "scipy.optimize"),
    *("sklearn.svm", "sklearn.linear_model", "sklearn.pipeline", "sklearn.neighbors"),
    *("nibabel", "nilearn.connectome", "nilearn.image", "nilearn.masking", "nilearn.datasets"),
    *("matplotlib.backends.backend_agg", "matplotlib.figure", "pydantic", "rich.progress", "yaml"),
)
PASSED, FAILED, INTERRUPTED = 0, 1, 2  # exit status of pytest
ONE_THREAD = {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}


class Outcome(NamedTuple):
    """Outcome of one fault."""

    outcome: str  # caught, hangs, survived, or why it could not be tried
    first_failure: str = ""
    cpu_s: float = 0.0
    selection: str = ""


def main() -> int:
    """Try all faults that are not in the file yet."""
    args = parsed()
    done = read(args.out)
    os.environ |= ONE_THREAD  # before libraries look
    for name in LIBRARIES:
        import_module(name)
    for fault in chosen(args.only):
        if fault.id in done:
            continue
        outcome = tried(fault, args, done)
        done[fault.id] = outcome
        append(args.out, fault.id, outcome)
        print(line(fault.id, outcome), flush=True)
    return summed_up({f.id: done[f.id] for f in chosen(args.only)})


def parsed() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="table of results, appended to")
    parser.add_argument("--checkout", type=Path, default=HERE, help="whose tests and package")
    parser.add_argument("-m", dest="marks", help="marks; default: all but the slow tier")
    parser.add_argument("--only", nargs="+", default=[""], help="ids that contain one of these")
    parser.add_argument("--narrow", action="store_true", help="never whole folders of tests")
    parser.add_argument("--timeout", type=float, default=HANGS, help="s until a run hangs")
    args = parser.parse_args()
    args.checkout = args.checkout.resolve()
    if args.marks is None:
        tiers = (args.checkout / "tests" / "tiers.py").exists()
        args.marks = "unit or study" if tiers else "not slow"
    return args


def chosen(only: list[str]) -> list[Planted]:
    """Faults whose id contains one of some texts, in their order; refuses two of one id."""
    ids = [f.id for f in PLANTED]
    if len(ids) != len(set(ids)):
        raise SystemExit("two faults have one id")
    return list(dict.fromkeys(f for text in only for f in PLANTED if text in f.id))


def tried(fault: Planted, args: argparse.Namespace, done: dict[str, Outcome]) -> Outcome:
    """Plant one fault and run the tests that should detect it."""
    source = args.checkout / "brainmass_core" / fault.file
    n = source.read_text(encoding="utf-8").count(fault.old) if source.exists() else 0
    if n != 1:
        return Outcome(f"not planted: the old text stands {n} times in {fault.file}")
    wide = () if args.narrow else tuple(sorted({str(Path(t).parent) for t in fault.tests}))
    outcome = Outcome("no such tests")
    for tests in (existing(fault.tests, args.checkout), existing(wide, args.checkout)):
        if not tests or outcome.selection == " ".join(tests):
            continue
        bare = baseline(tests, args, done)
        if bare.outcome != "passes":
            return Outcome(f"without a fault: {bare.outcome}", bare.first_failure)
        before = outcome.cpu_s
        outcome = run(tests, args, fault)
        outcome = outcome._replace(cpu_s=outcome.cpu_s + before)
        if outcome.outcome != "survived":
            break
    return outcome


def existing(tests: tuple[str, ...], checkout: Path) -> tuple[str, ...]:
    """The files and folders that exist, otherwise the folders that would contain them."""
    found = tuple(t for t in tests if (checkout / "tests" / t).exists())
    folders = sorted({str(Path(t).parent) for t in tests} - {"."})
    return found or tuple(f for f in folders if (checkout / "tests" / f).is_dir())


def baseline(tests: tuple[str, ...], args: argparse.Namespace, done: dict[str, Outcome]) -> Outcome:
    """The same tests without a fault, once for each selection."""
    key = "without a fault: " + " ".join(tests)
    if key not in done:
        found = run(tests, args, None)
        if found.outcome == "survived":
            found = found._replace(outcome="passes")
        done[key] = found
        append(args.out, key, found)
        print(line(key, found), flush=True)
    return done[key]


def run(tests: tuple[str, ...], args: argparse.Namespace, fault: Planted | None) -> Outcome:
    """Run tests in a copy of the checkout, with a fault in it or without."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(args.checkout, tree, symlinks=True, ignore=left_out(args.checkout))
        if fault:
            file = tree / "brainmass_core" / fault.file
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
            for old in byte_code(file):
                old.unlink()
        command = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", f"--basetemp={folder}/tmp"]
        command += ["-m", args.marks, *(f"tests/{t}" for t in tests)]
        variables = environment(args.checkout, tree)
        status, output, took = waited_for(command, tree, variables, args.timeout)
        # whether any process has compiled this very file
        seen = fault is None or bool(byte_code(tree / "brainmass_core" / fault.file))
    where = " ".join(tests)
    if status is None:
        return Outcome("hangs", "", took, where)
    if not seen:
        return Outcome("not imported by these tests", "", took, where)
    if status < 0:
        return Outcome("caught", f"the run was ended by signal {-status}", took, where)
    if status not in (PASSED, FAILED, INTERRUPTED):
        last = (output.strip().splitlines() or [""])[-1]
        return Outcome(f"pytest ends with {status}: {last}", "", took, where)
    if status == PASSED:
        return Outcome("survived", "", took, where)
    return Outcome("caught", first_failure(output), took, where)


def left_out(checkout: Path):
    """What is not copied: history, environment, results, caches."""
    caches = shutil.ignore_patterns(*CACHES)

    def ignore(folder: str, names: list[str]) -> set[str]:
        top = set(LEFT_OUT) & set(names) if Path(folder) in (checkout, checkout / "docs") else set()
        return top | set(caches(folder, names))

    return ignore


def environment(checkout: Path, tree: Path) -> dict[str, str]:
    """Environment variables that give this copy of the package precedence, also in processes that
    tests start.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NUMBA", "PYTEST"))}
    programs = str(Path(sys.executable).parent)
    kept |= {"PYTHONPATH": str(tree), "PATH": f"{programs}{os.pathsep}{kept.get('PATH', '')}"}
    kept |= ONE_THREAD
    kept.setdefault("BRAINMASS_SHARED_DATA", str(checkout.parent / "shared" / "data"))
    return kept


def waited_for(
    arguments: list[str], folder: Path, variables: dict[str, str], timeout: float
) -> tuple[int | None, str, float]:
    """Run pytest in a fork.

    Returns
    -------
    int or None
        Exit status, negative of a signal; None if the run did not end in time.
    str
        What it printed.
    float
        Processor time of the run and of the processes that it waited for, s.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        child = os.fork()
        if not child:
            pytest_here(arguments, folder, variables, output)
        until, ended = time.monotonic() + timeout, 0
        while not ended and time.monotonic() < until:
            time.sleep(LOOKS)
            ended, status, used = os.wait4(child, os.WNOHANG)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # also processes that tests have left running
        if not ended:
            _, _, used = os.wait4(child, 0)
        output.seek(0)
        code = os.waitstatus_to_exitcode(status) if ended else None
        return code, output.read(), used.ru_utime + used.ru_stime


def pytest_here(
    arguments: list[str], folder: Path, variables: dict[str, str], output: IO[str]
) -> None:
    """Become the process of a run; never returns."""
    os.setsid()
    os.chdir(folder)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output.fileno(), stream.fileno())
    os.environ.clear()
    os.environ |= variables
    # workers of the stages import the main module again, and would find this file
    sys.modules["__main__"] = ModuleType("__main__")
    sys.dont_write_bytecode, sys.pycache_prefix = False, None  # `byte_code` tells what was imported
    own = str(Path(__file__).parent)
    sys.path[:] = [str(folder), *(p for p in sys.path if p not in ("", own))]
    status = 1
    try:
        status = import_module("pytest").main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(status))


def byte_code(file: Path) -> list[Path]:
    """Path of the compiled file of Python."""
    return list((file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"))


def first_failure(output: str) -> str:
    """The first failed test or broken file in pytest's summary, and the beginning of why."""
    for text in output.splitlines():
        if text.startswith(("FAILED ", "ERROR ")) and "::" in text:
            return text.split(" ", 1)[1].removeprefix("tests/")[:200]
    for text in output.splitlines():
        if text.startswith("ERROR "):
            return text.removeprefix("ERROR ").removeprefix("tests/")[:200]
    return (output.strip().splitlines() or [""])[-1][:200]


def read(path: Path) -> dict[str, Outcome]:
    """Results by id."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return {
        r["id"]: Outcome(r["outcome"], r["first_failure"], float(r["cpu_s"]), r["selection"])
        for r in rows
    }


def append(path: Path, name: str, outcome: Outcome) -> None:
    """Append a row; the header first."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        plain = " ".join(outcome.first_failure.split())
        row = (outcome.outcome, plain, f"{outcome.cpu_s:.1f}", outcome.selection)
        writer.writerow((name, *row))


def line(name: str, outcome: Outcome) -> str:
    """A result as it is printed."""
    test = outcome.first_failure.split(" - ")[0]
    return f"{name:52} {outcome.outcome:10} {outcome.cpu_s:7.1f} s  {test}"


def summed_up(found: dict[str, Outcome]) -> int:
    """Print the table and its sums; the exit status."""
    print()
    for name, outcome in found.items():
        print(line(name, outcome))
    caught = [n for n, o in found.items() if o.outcome in ("caught", "hangs")]
    survived = [n for n, o in found.items() if o.outcome == "survived"]
    n_odd = len(found) - len(caught) - len(survived)
    hang = sum(o.outcome == "hangs" for o in found.values())
    print(
        f"\n{len(found)} faults: {len(caught)} caught ({hang} by a run that hangs), "
        f"{len(survived)} survived, {n_odd} not tried; {sum(o.cpu_s for o in found.values()):.0f} "
        f"s of processor time"
    )
    return 2 if n_odd else 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
