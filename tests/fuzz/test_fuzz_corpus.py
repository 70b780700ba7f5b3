"""Harmed files are refused by name, or read as what they say; those that once were not stay so."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from fuzz_corpus import CORPUS, kept
from fuzz_judge import Input, judged, made, written
from fuzz_readers import READERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FEW = settings(max_examples=12, database=None, suppress_health_check=list(HealthCheck))
READER = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)


@pytest.fixture(autouse=True)
def _quiet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where code in a file would leave its mark
    logging.getLogger("nibabel.global").setLevel(logging.ERROR)


@READER
def test_every_sound_file_is_read(reader, tmp_path):
    for i, seed in enumerate(reader.seeds):
        content = seed.files[seed.targets[0]]
        for sealed in {False, reader.sealed is not None}:
            folder = tmp_path / f"{i}{sealed}"
            sound = Input(i, seed.targets[0], content, sealed, not sealed)
            written(reader, sound, folder)
            assert judged(reader, sound, folder).outcome == "read"


@pytest.mark.parametrize(
    "file", sorted(CORPUS.glob("*/*")), ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_what_was_found_stays_mended(file: Path, tmp_path):
    reader, case, expected = kept(file)
    written(reader, case, tmp_path / "x")
    verdict = judged(reader, case, tmp_path / "x")
    assert verdict.outcome == expected, verdict.what


@READER
@FEW
@given(number=st.integers(0, 2**31))
def test_a_harmed_file_is_refused_by_name_or_read_as_what_it_says(reader, number, tmp_path_factory):
    folder = tmp_path_factory.mktemp("x")
    case = made(reader, number, 1)
    written(reader, case, folder)
    verdict = judged(reader, case, folder)
    assert verdict.outcome != "finding", verdict.what
