"""What is kept of a finished scan is published as it was written, or made again."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from batch_processes import called, items, job, process

from brainmass_core.checksums import sealed
from brainmass_core.pipeline.batch import BatchError, run_batch
from brainmass_core.pipeline.kept import kept_entry
from brainmass_core.tables import read_table


def flipped(position: float) -> Callable[[bytes], bytes]:
    def harm(content: bytes) -> bytes:
        at = int(position * (len(content) - 1))
        return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]

    return harm


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(share * len(content))]


HARM = {
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "longer": lambda content: content + b" {}",
    "another encoding": lambda content: b"\xff\xfe" + content,
    **{f"bit at {i}/16": flipped(i / 16) for i in range(17)},
    **{f"cut at {i}/16": cut(i / 16) for i in range(1, 16)},
}


def values(results: Path) -> list[float]:
    path = job(results).paths.batch("preprocess", "demo", 0)
    return [row["value"] for row in read_table(path, "preprocess").to_pylist()]


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    run_batch(job(folder / "r"), items(3, folder / "calls"), process)
    return folder


@pytest.mark.parametrize("record", [{}, {"rows": None}, {"rows": None, "entry": {"x": 1}}])
def test_a_kept_file_of_another_version_counts_as_not_finished(tmp_path, caplog, record) -> None:
    (tmp_path / "s.json").write_text(json.dumps(sealed(record)))
    assert kept_entry(tmp_path / "s.json") is None
    assert f"{tmp_path / 's.json'}: a kept scan is damaged" in caplog.text


def test_a_damaged_kept_file_counts_as_not_finished(kept: Path) -> None:
    folder = job(kept / "r").work
    assert kept_entry(folder / "scan-1.json").scan_id == "scan-1"
    for kind in ("json", "parquet"):
        file = folder / f"scan-1.{kind}"
        content = file.read_bytes()
        for name, harm in HARM.items():
            file.write_bytes(harm(content))
            assert kept_entry(folder / "scan-1.json") is None, (kind, name)
        file.write_bytes(content)
    assert kept_entry(folder / "scan-1.json").scan_id == "scan-1"


@pytest.mark.parametrize("kind", ["json", "parquet", "item"])
@pytest.mark.parametrize("harm", ["bit at 8/16", "empty"])
def test_a_damaged_kept_scan_is_worked_on_again(kept: Path, kind: str, harm: str) -> None:
    calls, results = kept / "calls", kept / "r"
    file = job(results).work / f"scan-1.{kind}"
    before = called(calls)
    file.write_bytes(HARM[harm](file.read_bytes()))
    run_batch(job(results), items(3, calls), process)
    assert values(results) == [0.0, 1.0, 2.0]
    assert called(calls) == sorted([*before, "scan-1"])


def test_files_of_another_scan_count_as_not_finished(kept: Path) -> None:
    calls, one = kept / "calls", job(kept / "r")
    before = called(calls)
    shutil.copy(one.work / "scan-0.parquet", one.work / "scan-1.parquet")
    run_batch(one, items(3, calls), process)
    assert values(kept / "r") == [0.0, 1.0, 2.0]
    assert called(calls) == sorted([*before, "scan-1"])


@pytest.mark.parametrize("kind", ["json", "parquet", "item"])
def test_a_folder_in_place_of_a_kept_file_is_named(tmp_path: Path, kind: str) -> None:
    one, work = job(tmp_path / "r"), items(3, tmp_path / "calls")
    run_batch(one, work, process)
    file = one.work / f"scan-1.{kind}"
    file.unlink()
    file.mkdir()
    with pytest.raises(BatchError, match=rf"scan-1\.{kind}.*same command"):
        run_batch(one, work, process)


def test_rows_that_are_damaged_while_the_batch_runs_are_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(tmp_path / "r")

    def damaging(*_: object) -> None:
        file = one.work / "scan-1.parquet"
        file.write_bytes(flipped(0.5)(file.read_bytes()))

    monkeypatch.setattr("brainmass_core.pipeline.batch._tell_if_many_failed", damaging)
    with pytest.raises(BatchError, match=r"scan-1\.parquet: damaged.*same command again"):
        run_batch(one, items(3, tmp_path / "calls"), process)
    assert not one.paths.batch("preprocess", "demo", 0).exists()
