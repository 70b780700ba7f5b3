"""Manifests: one row per scan and stage, in a stable order, complete."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.pipeline.manifest import (
    Entry,
    ScanExcluded,
    ScanFailed,
    measured_so_far,
    read_manifest,
    read_manifests,
    write_manifest,
)
from brainmass_core.pipeline.paths import Paths

text = st.text(max_size=8)
entries = st.lists(
    st.builds(
        Entry,
        stage=st.just("pfc"),
        dataset=st.just("demo"),
        batch=st.integers(0, 9),
        scan_id=st.text(min_size=1, max_size=8),
        status=st.sampled_from(["ok", "failed", "excluded"]),
        reason=text,
        remedy=text,
        seconds=st.floats(0, 1e6),
    ),
    unique_by=lambda e: e.scan_id,
    max_size=5,
)


@given(entries)
def test_reading_is_the_inverse_of_writing_up_to_order(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]
) -> None:
    path = tmp_path_factory.mktemp("m") / "0.parquet"
    write_manifest(path, entries, "h")
    assert read_manifest(path) == sorted(entries, key=lambda e: e.scan_id)


def test_all_manifests_make_one_table(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert read_manifests(paths).num_rows == 0
    for stage in ("preprocess", "pfc"):
        for batch in (0, 1):
            entry = Entry(stage, "demo", batch, f"scan-{batch}", "ok")
            write_manifest(paths.manifest(stage, "demo", batch), [entry], "h")
    table = read_manifests(paths)
    assert table.num_rows == 4
    assert set(table["stage"].to_pylist()) == {"preprocess", "pfc"}


@pytest.mark.parametrize(("kind", "status"), [(ScanFailed, "failed"), (ScanExcluded, "excluded")])
def test_an_outcome_crosses_processes_whole(kind: type[ScanFailed], status: str) -> None:
    measured = {"mean_fd": 0.7}
    whole = kind("why", step="where", remedy="how", measured=measured)
    outcome = pickle.loads(pickle.dumps(whole))
    told = (outcome.status, outcome.reason, outcome.step, outcome.remedy, str(outcome))
    assert told == (status, "why", "where", "how", "why")
    assert outcome.measured == measured
    assert isinstance(outcome, kind)


def excluded_within(outer: dict[str, float]) -> None:
    with measured_so_far(outer):
        outer["tsnr"] = 40.0
        with measured_so_far({"mean_fd": 0.2, "n_volumes": 100}):
            raise ScanExcluded("why", measured={"mean_fd": 0.3})


def test_the_number_that_is_nearest_to_the_error_counts():
    with pytest.raises(ScanExcluded) as caught:
        excluded_within({"mean_fd": 0.1})
    assert caught.value.measured == {"mean_fd": 0.3, "n_volumes": 100, "tsnr": 40.0}


def test_nothing_is_measured_where_nothing_is_raised():
    with measured_so_far({"mean_fd": 0.1}):
        pass
    assert ScanFailed("why").measured == {}
