"""Peak of memory: what is held and freed within the block counts, what came before does not."""

import gc
import mmap
import time
from collections.abc import Callable

import psutil
import pytest

from brainmass_core.pipeline import peak
from brainmass_core.pipeline.peak import peak_memory
from brainmass_core.preprocess.steps import Steps


@pytest.fixture(autouse=True)
def nothing_to_collect():
    """What other tests left must not be freed while a block is measured."""
    gc.collect()


def hold(mb: int, seen: Callable[[], float] | None = None) -> None:
    """Touch pages that go back to the system at once, which an array's memory need not.

    They are held until the thread that looks for the peak has `seen` them (MB), if one does.
    """
    before = psutil.Process().memory_info().rss / 2**20
    with mmap.mmap(-1, mb * 2**20) as block:
        for start in range(0, len(block), 4096):
            block[start] = 1
        deadline = time.monotonic() + 300  # ends a hang, and says nothing else
        while seen is not None and seen() < before + 0.95 * mb:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def without_reset(folder, monkeypatch):
    """As in a container that forbids it."""
    monkeypatch.setattr(peak, "PROC", folder)


def reset_without_effect(folder, monkeypatch):
    (folder / "clear_refs").write_text("")
    (folder / "status").write_text("VmHWM:\t99999999 kB\n")
    monkeypatch.setattr(peak, "PROC", folder)


@pytest.mark.parametrize("system", [None, without_reset, reset_without_effect])
def test_what_was_freed_within_the_block_counts(system, tmp_path, monkeypatch):
    if system is not None:
        system(tmp_path, monkeypatch)
    hold(600)
    with peak_memory() as nothing:
        pass
    with peak_memory() as found:
        hold(300, (lambda: found.mb) if system else None)
    assert nothing.mb + 250 < found.mb < nothing.mb + 400


@pytest.mark.parametrize("system", [None, without_reset])
def test_a_block_sees_what_was_before_and_within_another_one_inside(system, tmp_path, monkeypatch):
    if system is not None:
        system(tmp_path, monkeypatch)
    with peak_memory() as before:
        hold(500, (lambda: before.mb) if system else None)
        with peak_memory() as small:
            pass
    with peak_memory() as within, peak_memory() as large:
        hold(300, (lambda: large.mb) if system else None)
    assert before.mb > small.mb + 450
    assert large.mb > small.mb + 250
    assert within.mb >= large.mb > 0
    assert within.mb < before.mb


def test_a_block_that_fails_is_measured_too(tmp_path, monkeypatch):
    without_reset(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="bad scan"), peak_memory() as found:
        raise ValueError("bad scan")
    assert found.mb > 10


def test_each_step_shows_its_own_memory(tmp_path, monkeypatch):
    without_reset(tmp_path, monkeypatch)
    resident, readings = peak._resident, [0.0]
    monkeypatch.setattr(peak, "_resident", lambda: readings.append(resident()) or readings[-1])
    steps = Steps()
    with steps.timed("large"):
        hold(300, lambda: max(readings))
    with steps.timed("small"):
        pass
    assert steps.peak_rss["large"] > steps.peak_rss["small"] + 250
