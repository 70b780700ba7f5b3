"""The plan of a study: scans, jobs, files, bytes and CPU-hours before anything runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from brainmass_core.cli.application import app
from brainmass_core.config import Config, parse_config
from brainmass_core.config.costs import FILES_OF_JOB, KEPT_FILES, START_UP
from brainmass_core.config.study_size import settle
from brainmass_core.pipeline.plan import plan, table

SIZES = {"raw": 1000, "ready": 70_000}


def config(folder: Path, **over: object) -> Config:
    raw = {
        "results": str(folder / "results"),
        "datasets": {
            "raw": {
                "kind": "bids",
                "role": "internal",
                "path": str(folder),
                "evaluation_fraction": 0.25,
            },
            "ready": {"kind": "timeseries", "role": "external", "path": str(folder)},
        },
    }
    return settle(parse_config(raw | over), SIZES)


def test_each_stage_has_the_scans_that_enter_it_and_a_job_per_batch(tmp_path: Path) -> None:
    found = plan(config(tmp_path), SIZES)
    assert {s: c.scans for s, c in found.items()} == {
        "preprocess": 1000,
        "timeseries": 71_000,
        "connectivity": 71_000,
        "quality": 71_000,
        "pfc": 750,
    }
    assert {s: c.jobs for s, c in found.items()} == {
        "preprocess": 4,
        "timeseries": 36,
        "connectivity": 36,
        "quality": 36,
        "pfc": 4,
    }


def test_a_large_study_keeps_few_files_and_derivatives_and_pages_add_some_per_scan(
    tmp_path: Path,
) -> None:
    ready = {"ready": SIZES["ready"]}
    small = plan(config(tmp_path), ready)
    given = {"quality": {"pages": "all"}, "timeseries": {"derivatives": True}}
    full = plan(config(tmp_path, **given), ready)
    per_job = FILES_OF_JOB + KEPT_FILES["timeseries"]
    assert small["timeseries"].files == small["timeseries"].jobs * per_job
    assert small["quality"].files == small["quality"].jobs * FILES_OF_JOB + 3500
    assert full["timeseries"].files - small["timeseries"].files == 7 * 70_000
    assert full["connectivity"].files - small["connectivity"].files == 2 * 70_000
    assert full["quality"].files - small["quality"].files == 70_000 - 3500
    for stage in ("timeseries", "connectivity", "quality"):
        assert full[stage].n_bytes > small[stage].n_bytes
        assert full[stage].cpu > small[stage].cpu


def test_costs_grow_with_scans_and_each_job_adds_its_start(tmp_path: Path) -> None:
    one, two = (plan(config(tmp_path), {"raw": n})["preprocess"] for n in (1000, 2000))
    assert two.cpu - one.cpu == pytest.approx(one.cpu - 4 * START_UP)
    assert two.n_bytes == 2 * one.n_bytes


def test_pseudo_fc_grows_with_views_and_edges(tmp_path: Path) -> None:
    pfc = plan(config(tmp_path, pfc={"n_views": 8}), SIZES)["pfc"]
    assert pfc.n_bytes == 750 * 8 * 9900  # 9.9 kB per view of 100 parcels
    more = plan(config(tmp_path, pfc={"n_views": 16}, atlas={"n_rois": 200, "name": "x"}), SIZES)
    assert more["pfc"].n_bytes == 750 * 16 * 2 * 200 * 199 / 2


def test_the_table_ends_with_the_sum(tmp_path: Path) -> None:
    found = plan(config(tmp_path), SIZES)
    lines = list(table(found))
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["stage", "scans", "jobs", "files", "MB", "CPU-hours"]
    assert lines[-1].split()[1] == str(sum(c.jobs for c in found.values()))


def test_config_check_prints_the_plan_and_what_was_chosen(tmp_path: Path) -> None:
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.zeros((5, 4)))
    file = tmp_path / "config.yaml"
    file.write_text(
        f"results: {tmp_path / 'results'}\n"
        f"datasets: {{d: {{kind: timeseries, role: pretrain, path: {tmp_path}}}}}\n"
    )
    done = CliRunner().invoke(app, ["config", "check", str(file)])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert ["timeseries", "3", "1"] in [line[:3] for line in lines]
    assert "datasets.d.batches: 1, for 3 scans" in done.output
    assert not (tmp_path / "results").exists()
