"""Three tiers of tests: their content, order and time budgets.

``unit``
    No process, no Snakemake, no study. A test that starts a process here fails.
``study``
    One small study in the hands of the stages that read it, and commands run as processes.
``slow``
    Real data, real Slurm, the whole workflow, killed jobs.

A slow test with the mark ``nightly`` repeats what another one shows at another stage, engine or
fault. These are the last, and `.ci/run` starts them only while it has time, which it says.

A test without a mark belongs to ``unit``, a slow one in a file marked ``study`` to ``slow``. The
longest tests in ``durations.tsv`` start first, so that no core is idle at the end; ``pytest
--record-durations`` writes that file.
"""

from __future__ import annotations

import csv
import multiprocessing.process
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

TIERS = ("unit", "study", "slow")
# wall seconds on two cores; with lint and half a minute for each start, .ci/run takes 35 minutes
BUDGET = {"unit": 240, "study": 480, "slow": 1200}
TOLERANCE = 1.25
# seconds after which a test counts as hanging: a machine may be shared and many times slower
HANGS = {"unit": 600, "study": 1800, "slow": 3600}
RECORD = Path(__file__).parent / "durations.tsv"
N_RECORDED = 40  # of each tier
# slow tests are distributed one by one, except files whose tests share an expensive fixture
TOGETHER = {
    "tests/faults/test_faults.py",
    "tests/positive_control/test_positive_control_run.py",
    "tests/predict/test_predict_series.py",
    "tests/preprocess/test_preprocess_engines_installed.py",
    "tests/preprocess/test_preprocess_wrong_t1w.py",
    "tests/slurm/test_slurm_dag.py",
    "tests/workflow/test_workflow_abide.py",
    "tests/workflow/test_workflow_studyforrest.py",
}
# seconds since 1970 after which nightly tests are no longer started; .ci/run sets it
NIGHTLY_UNTIL = "BRAINMASS_NIGHTLY_UNTIL"
# programs with which libraries query the machine, once
HARMLESS = {"uname", "lscpu", "fc-list", "ldconfig", "file"}

_running: pytest.Item | None = None


class ProcessInUnitTestError(AssertionError):
    """A unit test started a process."""


def tier(item: pytest.Item) -> str:
    """Name of the tier that a test belongs to."""
    return next((t for t in reversed(TIERS) if item.get_closest_marker(t)), "unit")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-durations",
        action="store_true",
        help=f"write the longest tests of the tiers that run to {RECORD.name}",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Times(config), "times")
    sys.addaudithook(_watch)
    multiprocessing.process.BaseProcess.start = _watched(multiprocessing.process.BaseProcess.start)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Distribution of ``--dist loadscope``; xdist's own groups are lost on pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    if config.getoption("dist") != "loadscope":
        return None

    class OneByOne(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in TOGETHER else nodeid

    return OneByOne(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if tier(item) == "unit":
            item.add_marker("unit")
        own = item.get_closest_marker("timeout")
        limit = max(HANGS[tier(item)], own.args[0] if own else 0)
        item.add_marker(pytest.mark.timeout(limit), append=False)
    seconds = {row["test"]: float(row["seconds"]) for row in read_record()}
    files: dict[str, float] = defaultdict(float)
    for item in items:
        files[item.location[0]] += seconds.get(item.nodeid, 0)
    # unit and study tests are distributed by file, slow ones one by one
    unknown = dict.fromkeys(TOGETHER, 100.0)  # which are not recorded
    items.sort(
        key=lambda item: (
            -seconds.get(item.nodeid, unknown.get(item.location[0], 0.0))
            if tier(item) == "slow"
            else 0.0
        )
    )
    items.sort(key=lambda item: -files[item.location[0]] if tier(item) != "slow" else 0)
    items.sort(key=lambda item: item.get_closest_marker("nightly") is not None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start no nightly test, nor its fixtures, when there is no time left for them."""
    until = float(os.environ.get(NIGHTLY_UNTIL, "inf"))
    if item.get_closest_marker("nightly") and time.time() > until:
        pytest.skip("nightly, and .ci/run is already late on this slow machine; make slow runs it")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    global _running
    _running = item if tier(item) == "unit" else None
    if _running is not None:  # stages process their scans without a process for them
        os.environ["BRAINMASS_IN_LINE"] = "1"
    try:
        return (yield)
    finally:
        _running = None
        os.environ.pop("BRAINMASS_IN_LINE", None)


def _watch(event: str, arguments: tuple) -> None:
    if _running is None or event not in {
        "subprocess.Popen",
        "os.fork",
        "os.posix_spawn",
        "os.system",
    }:
        return
    program = Path(os.fsdecode(arguments[0] or "")).name if event == "subprocess.Popen" else event
    if program not in HARMLESS and not _importing():
        _refuse(program)


def _importing() -> bool:
    """Whether a module is being imported: nipype runs `sh` then, in whichever test is first."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _watched(start):
    def watched(self):
        if _running is not None:
            _refuse("multiprocessing")
        return start(self)

    return watched


def _refuse(program: str) -> None:
    raise ProcessInUnitTestError(
        f"{_running.nodeid} starts a process ({program}); mark it `study` or `slow`"
    )


def read_record() -> list[dict[str, str]]:
    """Rows of `durations.tsv`: tier, seconds and test."""
    if not RECORD.exists():
        return []
    with RECORD.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


class Times:
    """Wall time of the tiers that ran, and their budgets."""

    def __init__(self, config: pytest.Config) -> None:
        self.record = config.getoption("--record-durations")
        self.began = time.monotonic()
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = next((t for t in reversed(TIERS) if t in report.keywords), "unit")
        self.seconds[name, report.nodeid.partition("@")[0]] += report.duration

    def pytest_terminal_summary(self, terminalreporter) -> None:
        tiers = {name for name, _ in self.seconds}
        if len(tiers) == 1:
            (name,) = tiers
            took, budget = time.monotonic() - self.began, BUDGET[name]
            terminalreporter.write_line(f"tier {name}: {took:.0f} s of a budget of {budget} s")
            if took > TOLERANCE * budget:
                terminalreporter.write_line(
                    f"BUDGET EXCEEDED: tier {name} took {took / budget:.2f} times its budget; "
                    f"tests/{RECORD.name} has the longest tests",
                    yellow=True,
                )
        if self.record:
            self._write(tiers)

    def _write(self, tiers: set[str]) -> None:
        rows = [row for row in read_record() if row["tier"] not in tiers]
        for name in tiers:
            longest = sorted(
                ((s, t) for (n, t), s in self.seconds.items() if n == name), reverse=True
            )
            rows += [
                {"tier": name, "seconds": f"{s:.1f}", "test": t} for s, t in longest[:N_RECORDED]
            ]
        rows.sort(key=lambda row: (TIERS.index(row["tier"]), -float(row["seconds"]), row["test"]))
        with RECORD.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(
                file, ["tier", "seconds", "test"], delimiter="\t", lineterminator="\n"
            )
            writer.writeheader()
            writer.writerows(rows)
