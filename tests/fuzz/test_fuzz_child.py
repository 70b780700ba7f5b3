"""The child distinguishes every kind of finding from allowed outcomes, and continues with the next
input.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import fuzz_child
import pytest
from fuzz_child import Child
from fuzz_judge import Reader, Seed, made
from fuzz_readers import READERS

pytestmark = pytest.mark.study


def hang(folder: Path, name: str) -> Any:
    while True:
        pass


def sleep(folder: Path, name: str) -> Any:
    time.sleep(1000)


def fill(folder: Path, name: str) -> Any:
    return len(bytearray(300 * 2**20))


def crash(folder: Path, name: str) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def run_code(folder: Path, name: str) -> Any:
    return os.system("true")


def leak(folder: Path, name: str) -> Any:
    raise KeyError("x")


def mumble(folder: Path, name: str) -> Any:
    raise ValueError("something is wrong")


def refuse(folder: Path, name: str) -> Any:
    raise ValueError(f"{folder / name}: found nothing, expected something")


def read(folder: Path, name: str) -> Any:
    return (folder / name).read_bytes()


def make() -> list[Seed]:
    return [Seed({"x": b"abc" * 10}, ("x",))]


def differs(folder: Path, name: str, value: Any) -> str | None:
    return None if value == b"" else "it is not empty"


EXPECTED = {
    hang: "hangs: more than 1 s of the processor",
    sleep: "hangs: 3 s without answer",
    fill: "memory: ",
    crash: "the process died (status -9)",
    run_code: "code was run: ['os.system']",
    leak: "KeyError at ?: 'x'",
    mumble: "the refusal names no file",
}


@pytest.mark.parametrize("does", EXPECTED, ids=lambda f: f.__name__)
def test_what_is_not_allowed_is_a_finding(monkeypatch, does):
    monkeypatch.setattr(fuzz_child, "CPU", 1)
    # only for inputs that never end: others are limited by processor time, on a busy machine, too
    monkeypatch.setattr(fuzz_child, "WALL", 3 if does is sleep else 600)
    monkeypatch.setattr(fuzz_child, "MEMORY", 200 * 2**20)
    monkeypatch.setitem(READERS, "bad", Reader("bad", make, does, (ValueError,), {}))
    monkeypatch.setitem(READERS, "good", Reader("good", make, refuse, (ValueError,), {}))
    child = Child(0)
    answer = child.read("bad", 0)
    assert answer.outcome == "finding"
    assert answer.what.startswith(EXPECTED[does])
    if child.alive:
        assert child.read("good", 0).outcome == "refused"
        child.stop()


def test_a_value_that_is_not_what_was_written_is_a_finding(monkeypatch):
    monkeypatch.setitem(READERS, "a", Reader("a", make, read, (), {}, differs))
    monkeypatch.setitem(READERS, "b", Reader("b", make, read, (), {}, same=lambda a, b: a == b))
    monkeypatch.setitem(READERS, "c", Reader("c", make, read, (), {}))
    child = Child(0)
    said = {name: child.read(name, 1) for name in "abc"}
    child.stop()
    assert [said[n].outcome for n in "abc"] == ["finding", "finding", "read"]
    assert "it is not empty" in said["a"].what
    assert "as something else than was written" in said["b"].what


def test_an_input_depends_on_seed_reader_and_number_only():
    for reader in READERS.values():
        first = [made(reader, n, 3) for n in range(8)]
        assert [made(reader, n, 3) for n in reversed(range(8))][::-1] == first
        assert [made(reader, n, 4) for n in range(8)] != first
