"""Defaults of large studies follow from the number of scans, and change nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from brainmass_core.cli.options import load
from brainmass_core.config import Config, dump_config, parse_config, study_size
from brainmass_core.config.study_size import AUTOMATIC, LARGE_STUDY, choices, is_settled, settle
from brainmass_core.pipeline.dag import Study
from brainmass_core.pipeline.hashing import stage_hash

STAGES = ("timeseries", "connectivity", "quality", "pfc")


def raw(folder: Path, **over: object) -> dict:
    dataset = {"kind": "timeseries", "role": "internal", "path": str(folder), "batches": 1}
    return {"results": str(folder / "results"), "datasets": {"d": dataset}} | over


def values(config: Config) -> dict[str, object]:
    return {f"{s}.{name}": getattr(getattr(config, s), name) for s, name in AUTOMATIC}


SMALL = {"quality.pages": "all", "timeseries.derivatives": True}
LARGE = {"quality.pages": "flagged", "timeseries.derivatives": False}


@pytest.mark.parametrize(("n", "expected"), [(0, SMALL), (LARGE_STUDY, SMALL), (2001, LARGE)])
def test_above_the_limit_pages_are_of_flagged_scans_and_there_are_no_derivatives(
    tmp_path: Path, n: int, expected: dict
) -> None:
    config = parse_config(raw(tmp_path))
    assert not is_settled(config)
    assert values(settle(config, {"d": n})) == expected
    assert is_settled(settle(config, {"d": n}))
    assert len(choices(config, n)) == (2 if n > LARGE_STUDY else 0)


def test_what_the_configuration_gives_is_kept(tmp_path: Path) -> None:
    given = {"quality": {"pages": "all"}, "timeseries": {"derivatives": True}}
    config = parse_config(raw(tmp_path, **given))
    assert values(settle(config, {"d": 70_781})) == SMALL
    assert choices(config, 70_781) == []


def test_the_number_of_batches_is_chosen_only_where_it_is_not_given(tmp_path: Path) -> None:
    dataset = {"kind": "bids", "role": "internal", "path": str(tmp_path)}
    datasets = {"many": dataset, "few": dataset, "given": dataset | {"batches": 3}}
    config = parse_config(raw(tmp_path, datasets=datasets))
    assert not is_settled(config)
    chosen = settle(config, {"many": 1000, "few": 10, "given": 1000})
    assert is_settled(chosen)
    assert {n: d.batches for n, d in chosen.datasets.items()} == {"many": 4, "few": 1, "given": 3}
    again = parse_config(yaml.safe_load(dump_config(chosen)))
    assert again == chosen
    assert is_settled(again)


def test_a_hash_contains_the_effect_and_not_how_it_was_chosen(tmp_path: Path) -> None:
    def hashes(config: Config) -> list[str]:
        return [stage_hash(config, stage, "d") for stage in STAGES]

    unsettled = parse_config(raw(tmp_path))
    small = {"quality": {"pages": "all"}, "timeseries": {"derivatives": True}}
    large = {"quality": {"pages": "flagged"}, "timeseries": {"derivatives": False}}
    assert hashes(unsettled) == hashes(settle(unsettled, {"d": 5}))
    assert hashes(unsettled) == hashes(parse_config(raw(tmp_path, **small)))
    assert hashes(settle(unsettled, {"d": 5000})) == hashes(parse_config(raw(tmp_path, **large)))
    assert hashes(settle(unsettled, {"d": 5000})) != hashes(unsettled)


@pytest.fixture
def limit_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_size, "LARGE_STUDY", 3)


@pytest.mark.usefixtures("limit_of_three")
def test_arrays_and_files_of_all_data_sets_are_counted_before_anything_ran(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.zeros((5, 2)), two=np.zeros((5, 2)))
    np.save(tmp_path / "b.npy", np.zeros((5, 2)))
    given = raw(tmp_path)
    study = Study.load(given, _file(tmp_path, given))
    assert values(study.config) == SMALL
    assert study.chosen == []
    np.save(tmp_path / "c.npy", np.zeros((5, 2)))
    study = Study.load(given, _file(tmp_path, given))
    assert values(study.config) == LARGE
    assert "4 scans" in study.chosen[0]


@pytest.mark.usefixtures("limit_of_three")
def test_jobs_and_commands_use_what_was_planned(tmp_path: Path) -> None:
    for name in "abcd":
        np.save(tmp_path / f"{name}.npy", np.zeros((5, 2)))
    given = raw(tmp_path)
    (file,) = _file(tmp_path, given)
    planned = Study.load(given, [file]).config
    assert values(load(file)) == LARGE, "counted, because nothing was planned yet"
    results = tmp_path / "results"
    results.mkdir()
    (results / "config.yaml").write_text(dump_config(planned))
    for name in "abcd":
        (tmp_path / f"{name}.npy").unlink()
    assert values(load(file)) == LARGE
    assert values(load(results / "config.yaml")) == LARGE
    assert values(Study.load(given, [file], planning=False).config) == LARGE
    assert values(Study.load(given, [file]).config) == SMALL, "a new plan counts again"


@pytest.mark.parametrize("kind", ["bids", "derivatives"])
def test_a_run_in_several_files_is_one_scan(tmp_path: Path, kind: str) -> None:
    func = tmp_path / "sub-01" / "func"
    func.mkdir(parents=True)
    names = ["task-rest_echo-1", "task-rest_echo-2", "task-rest_run-2", "task-nback"]
    if kind == "derivatives":
        names = [f"{n}_space-{s}_desc-preproc" for n in names for s in ("T1w", "MNI152NLin6Asym")]
    for name in names:
        (func / f"sub-01_{name}_bold.nii.gz").touch()
    dataset = {"kind": kind, "role": "internal", "path": str(tmp_path)}
    study = Study(parse_config(raw(tmp_path, datasets={"d": dataset})))
    assert study.n_scans("d") == 3


def test_a_synthetic_data_set_counts_before_it_is_written(tmp_path: Path) -> None:
    synthetic = {"n_participants": 12}
    dataset = {"kind": "bids", "role": "internal", "path": str(tmp_path / "demo")}
    config = parse_config(raw(tmp_path, datasets={"d": dataset | {"synthetic": synthetic}}))
    assert Study(config).n_scans("d") == 12


def _file(folder: Path, given: dict) -> list[Path]:

    (folder / "config.yaml").write_text(yaml.safe_dump(given))
    return [folder / "config.yaml"]
