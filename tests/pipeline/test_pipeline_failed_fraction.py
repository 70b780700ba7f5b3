"""A data set is refused as a whole, by the stages that depend on what failed."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from brainmass_core.config import Config, parse_config
from brainmass_core.pipeline.failed_fraction import (
    COLUMNS,
    USES,
    NoDatasetError,
    failed_fractions,
    judged_stages,
    refused_datasets,
    refused_of,
)
from brainmass_core.pipeline.manifest import Entry, write_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.status import show
from brainmass_core.tables import SCANS, from_rows, write_table


def entries(*rows: tuple[str, str, str, str]) -> pa.Table:
    """Rows of (stage, dataset, status, reason)."""
    columns = list(
        zip(*((s, d, f"scan-{i}", *r) for i, (s, d, *r) in enumerate(rows)), strict=True)
    )
    return pa.table(dict(zip(COLUMNS, columns, strict=True)))


def example(folder: Path, **over: object) -> Config:
    dataset = {"kind": "bids", "path": str(folder), "batches": 2}
    raw = {
        "results": str(folder / "r"),
        "datasets": {
            "sound": dataset | {"role": "internal"},
            "broken": dataset | {"role": "internal"},
        },
    }
    return parse_config(raw | over)


def published(config: Config, stage: str, dataset: str, batch: int, fates: str) -> None:
    """The manifest of a batch; `fates` has one letter per scan, such as ``ffo``."""
    status = {"f": "failed", "o": "ok", "x": "excluded"}
    found = [
        Entry(stage, dataset, batch, f"{dataset}-{batch}-{i}", status[c], "gone" * (c != "o"))
        for i, c in enumerate(fates)
    ]
    write_manifest(Paths(config.results).manifest(stage, dataset, batch), found, "hash")


@given(n=st.integers(1, 300), failed=st.integers(0, 300), percent=st.integers(0, 100))
def test_the_limit_itself_is_allowed_and_one_scan_more_is_not(
    n: int, failed: int, percent: int
) -> None:
    failed = min(failed, n)
    rows = [("timeseries", "d", "failed" if i < failed else "ok", "why") for i in range(n)]
    (found,) = failed_fractions(entries(*rows), percent / 100)
    assert (found.n_scans, found.n_failed) == (n, failed)
    assert found.exceeded == (Fraction(failed, n) > Fraction(percent, 100))


def test_each_data_set_and_stage_is_counted_apart_and_excluded_scans_have_not_failed() -> None:
    rows = [("pfc", "b", "ok", ""), ("preprocess", "b", "failed", "no T1w")]
    rows += [("preprocess", "a", "excluded", "motion"), ("preprocess", "a", "failed", "no T1w")]
    found = failed_fractions(entries(*rows), 0.5)
    assert [(f.dataset, f.stage, f.n_failed, f.n_scans) for f in found] == [
        ("a", "preprocess", 1, 2),
        ("b", "preprocess", 1, 1),
        ("b", "pfc", 0, 1),
    ]
    assert [f.exceeded for f in found] == [False, True, False]


def test_the_warning_names_numbers_limit_frequent_reasons_and_remedy() -> None:
    reasons = ["no T1w"] * 4 + ["truncated"] * 3 + ["t_r is 0"] * 2 + ["odd"]
    rows = [("timeseries", "d", "failed", reason) for reason in reasons]
    (found,) = failed_fractions(entries(*rows, ("timeseries", "d", "ok", "")), 0.25)
    assert "d: 10 of 11 scans failed in timeseries" in found.warning
    assert "max_failed_fraction 0.25" in found.warning
    for expected in ("4 scans: no T1w", "3 scans: truncated", "2 scans: t_r is 0"):
        assert expected in found.warning
    assert "odd" not in found.warning
    assert "brainmass retry" in found.warning
    assert "not used for pre-training, tasks, series_model" in found.warning


def test_a_stage_judges_what_it_depends_on() -> None:
    shared = {"preprocess", "timeseries"}
    assert judged_stages("pretrain") == shared | {"pfc"}
    assert judged_stages("finetune") == shared | {"connectivity"}
    assert judged_stages("series_model") == shared


def test_a_data_set_is_judged_over_all_its_batches(tmp_path: Path) -> None:
    config = example(tmp_path)
    published(config, "timeseries", "broken", 0, "fff")
    published(config, "timeseries", "broken", 1, "oooo")
    published(config, "timeseries", "broken", 2, "ffff")  # of an older number of batches
    assert not refused_datasets(config, "pretrain", config.datasets)
    published(config, "timeseries", "broken", 1, "ooff")
    refused = refused_datasets(config, "finetune", config.datasets)
    assert list(refused) == ["broken"]
    assert (refused["broken"].n_failed, refused["broken"].n_scans) == (5, 7)


@pytest.mark.parametrize(
    ("stage", "users"),
    [
        ("preprocess", {"pretrain", "finetune", "series_model"}),
        ("timeseries", {"pretrain", "finetune", "series_model"}),
        ("connectivity", {"finetune"}),
        ("pfc", {"pretrain"}),
        ("quality", set()),
    ],
)
def test_a_data_set_is_refused_by_what_depends_on_the_stage(
    tmp_path: Path, stage: str, users: set[str]
) -> None:
    config = example(tmp_path)
    published(config, stage, "broken", 0, "ffo")
    assert {u for u in USES if refused_datasets(config, u, config.datasets)} == users


def test_pseudo_fc_that_pre_training_does_not_read_is_not_judged(tmp_path: Path) -> None:
    config = example(tmp_path, pretrain={"source": "timeseries"})
    published(config, "pfc", "broken", 0, "ff")
    assert not refused_datasets(config, "pretrain", config.datasets)


def test_without_any_other_data_set_it_is_an_error_that_gives_the_reasons(tmp_path: Path) -> None:
    config = example(tmp_path)
    for name in config.datasets:
        published(config, "timeseries", name, 0, "ffo")
    with pytest.raises(NoDatasetError, match=r"tasks: .*\n.*sound: 2 of 3.*gone.*\n.*broken: 2 of"):
        refused_of(config, "finetune", config.datasets)
    assert refused_of(config, "finetune", []) == {}


def test_status_shows_refused_data_sets(tmp_path: Path) -> None:
    config = example(tmp_path)
    for name in config.datasets:
        rows = [{"scan_id": f"{name}-0-{i}", "split": "train", "batch": 0} for i in range(3)]
        write_table(Paths(config.results).scans(name), from_rows(rows, SCANS), "scans")
        published(config, "preprocess", name, 0, "ffo" if name == "broken" else "foo")
    file = io.StringIO()
    show(config, Console(file=file, width=400))
    assert "broken: 2 of 3 scans failed in preprocess" in file.getvalue()
    assert "sound: 1 of 3" not in file.getvalue()
