"""Damaged files are refused by name, or read correctly; corrected faults stay corrected."""

from __future__ import annotations

import logging

import fuzz_models
import pytest
from fuzz_corpus import CASES, case_input
from fuzz_judge import Input, judged, made, written
from fuzz_readers import READERS

# models take longer to create and to read than the rest; `make fuzz` reads as many of them
QUICK = [r for r in READERS.values() if r not in fuzz_models.READERS]
READER = pytest.mark.parametrize("reader", QUICK, ids=lambda r: r.name)


@pytest.fixture(autouse=True)
def _quiet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where code in a file would write its file
    logging.getLogger("nibabel.global").setLevel(logging.ERROR)


@READER
def test_every_sound_file_is_read(reader, tmp_path):
    for i, seed in enumerate(reader.seeds):
        content = seed.files[seed.targets[0]]
        for sealed in {False, reader.sealed is not None}:
            folder = tmp_path / f"{i}{sealed}"
            sound = Input(i, seed.targets[0], content, sealed, not sealed)
            written(reader, sound, folder)
            verdict = judged(reader, sound, folder)
            assert verdict.outcome == "read", verdict.what


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.reader}: {c.cause}")
def test_what_was_found_stays_mended(case, tmp_path):
    reader, given = case_input(case)
    written(reader, given, tmp_path / "x")
    verdict = judged(reader, given, tmp_path / "x")
    assert verdict.outcome == case.outcome, verdict.what


@READER
def test_a_damaged_file_is_refused_by_name_or_read_as_what_it_says(reader, tmp_path):
    for number in range(3):
        folder = tmp_path / str(number)
        case = made(reader, number)
        written(reader, case, folder)
        verdict = judged(reader, case, folder)
        assert verdict.outcome != "finding", f"{number}: {verdict.what}"
