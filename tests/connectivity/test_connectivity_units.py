"""Runs of a person that are joined: FC and pseudo-FC are those of the z-scored runs in a row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from joined_study import N_ROIS, RUNS, name_of, row_of, rows, series_of, write

from brainmass_core import connectivity, pfc
from brainmass_core.config import ConfigError, parse_config
from brainmass_core.connectivity import ledoit_wolf, pearson, vectorise
from brainmass_core.pfc import Dropping, kept_timepoints, scan_seed
from brainmass_core.pipeline.batch import IN_LINE
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed, read_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.status import standings
from brainmass_core.report.cohort import stage_flow
from brainmass_core.scans.table import ScansError
from brainmass_core.scans.units import units_of
from brainmass_core.tables import read_table, timeseries_schema, write_table
from brainmass_core.timeseries.joining import Joined, join

SERIES = {name_of(run): series_of(name_of(run), run[4]) for run in RUNS}


@pytest.fixture(autouse=True)
def _in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_LINE, "1")


def numpys(names: list[str]) -> np.ndarray:
    """Runs z-scored each (ddof 0) and concatenated, by numpy alone."""
    parts = [SERIES[n].astype(float) for n in names]
    return np.concatenate([(x - x.mean(axis=0)) / x.std(axis=0) for x in parts])


def made(config, stages=(connectivity, pfc)):
    for batch in range(config.datasets["lab"].batches):
        for stage in stages:
            stage.run(config, "lab", batch)
    return config


REST = ["lab_sub-01_ses-1_task-rest_run-1", "lab_sub-01_ses-1_task-rest_run-2"]
EXPECTED = {
    "participant": {
        "lab_sub-01_task-rest": ([*REST, "lab_sub-01_ses-2_task-rest_run-1"], 3),
        "lab_sub-01_task-faces": (["lab_sub-01_ses-2_task-faces"], 1),
        "lab_sub-02_task-rest": (["lab_sub-02_task-rest_run-1"], 2),  # the other one failed
        "lab_sub-03_task-rest": (["lab_sub-03_ses-1_task-rest"], 1),
    },
    "session": {
        "lab_sub-01_ses-1_task-rest": (REST, 2),
        "lab_sub-01_ses-2_task-rest": (["lab_sub-01_ses-2_task-rest_run-1"], 1),
        "lab_sub-01_ses-2_task-faces": (["lab_sub-01_ses-2_task-faces"], 1),
        "lab_sub-02_task-rest": (["lab_sub-02_task-rest_run-1"], 2),
        "lab_sub-03_ses-1_task-rest": (["lab_sub-03_ses-1_task-rest"], 1),
    },
}


@pytest.mark.parametrize("unit", ["session", "participant"])
def test_fc_is_that_of_the_z_scored_runs_in_a_row(tmp_path, unit):
    config = made(write(tmp_path, unit), [connectivity])
    found = {r["scan_id"]: r for r in rows(config, "connectivity")}
    assert set(found) == set(EXPECTED[unit])
    for name, (runs, n_listed) in EXPECTED[unit].items():
        row, z = found[name], numpys(runs)
        expected = np.corrcoef(z.T)[np.triu_indices(N_ROIS, 1)]
        np.testing.assert_allclose(row["fc"], expected, atol=1e-6)
        assert (row["joined"], row["n_listed"], row["t_rs"]) == (runs, n_listed, [2.0] * len(runs))
        assert row["n_timepoints"] == len(z)
        assert row["residual_dof"] == sum(len(SERIES[r]) - 1 for r in runs)
    # without z-scores the level of each run would make all parcels alike
    raw = np.concatenate([SERIES[n] for n in REST])
    level = np.corrcoef(raw.T)[np.triu_indices(N_ROIS, 1)]
    assert np.abs(np.corrcoef(numpys(REST).T)[np.triu_indices(N_ROIS, 1)] - level).max() > 0.1


def test_ledoit_wolf_sees_the_joined_series_too(tmp_path):
    config = write(
        tmp_path, "session", connectivity={"unit": "session", "estimator": "ledoit_wolf"}
    )
    found = {r["scan_id"]: r["fc"] for r in rows(made(config, [connectivity]), "connectivity")}
    expected = vectorise(ledoit_wolf(numpys(REST)))
    np.testing.assert_allclose(found["lab_sub-01_ses-1_task-rest"], expected, atol=1e-6)


def test_pseudo_fc_drops_timepoints_of_the_joined_series(tmp_path):
    config = made(write(tmp_path, "session"))
    name = "lab_sub-01_ses-1_task-rest"
    found = [r for r in rows(config, "pfc") if r["scan_id"] == name]
    z, dropping = numpys(REST), Dropping(config.pfc.drop_rate)
    assert len(z) == 121
    kept = kept_timepoints(dropping.dropped(121, 5, scan_seed(config.seed, name)), 121)
    assert [r["n_kept"] for r in found] == [97] * 5 == [kept.shape[1]] * 5  # 121 - floor(24.2)
    for row, timepoints in zip(found, kept, strict=True):
        expected = vectorise(pearson(z[timepoints]))
        got = np.frombuffer(row["fc"], "<f2").astype(float)
        np.testing.assert_allclose(got, expected, atol=6e-4)  # float16
    assert len({tuple(t < 50 for t in k) for k in kept.tolist()}) > 1  # of both runs


def test_nothing_depends_on_the_order_of_time_at_the_seam(tmp_path):
    """No filter and no lag: the same timepoints in another order have the same FC."""
    joined = join([SERIES[n] for n in REST])
    shuffled = joined[np.random.default_rng(0).permutation(len(joined))]
    np.testing.assert_allclose(pearson(shuffled), pearson(joined), atol=1e-7)
    np.testing.assert_allclose(joined[:50], numpys(REST[:1]), atol=1e-6)
    np.testing.assert_allclose(joined[50:], numpys(REST[1:]), atol=1e-6)


def test_series_do_not_depend_on_the_number_of_batches(tmp_path):
    def all_rows(batches):
        config = made(write(tmp_path, "participant", batches))
        return [
            sorted((str(r) for r in rows(config, stage)), key=str)
            for stage in ("connectivity", "pfc")
        ]

    assert all_rows(1) == all_rows(2) == all_rows(3)


def test_by_run_schema_rows_and_hashes_are_what_they_were(tmp_path):
    config = made(write(tmp_path, "run"))
    table = read_table(Paths(config.results).batch("connectivity", "lab", 0), "connectivity")
    assert table.column_names == ["scan_id", "estimator", "n_timepoints", "fc"]
    for row in table.to_pylist():
        expected = vectorise(pearson(SERIES[row["scan_id"]])).astype("f4")
        np.testing.assert_array_equal(np.float32(row["fc"]), expected)
    assert {r["scan_id"] for r in rows(config, "pfc")} == {name_of(r) for r in RUNS if r[5] == "ok"}
    # of the version before there was a unit
    plain = parse_config({"datasets": {"x": {"kind": "bids", "role": "pretrain", "path": "."}}})
    assert stage_hash(plain, "connectivity", "x") == stage_hash_before(plain)


def stage_hash_before(config):
    import hashlib
    import json

    part = {"before": stage_hash(config, "timeseries", "x")}
    part["connectivity"] = {"estimator": "pearson"}
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:12]


def test_the_unit_re_runs_connectivity_and_what_follows_and_nothing_before():
    def hashes(unit):
        data = {"x": {"kind": "bids", "role": "pretrain", "path": "."}}
        config = parse_config({"datasets": data, "connectivity": {"unit": unit}})
        return {
            s: stage_hash(config, s, "x")
            for s in (
                "scans",
                "preprocess",
                "timeseries",
                "connectivity",
                "quality",
                "pfc",
                "pretrain",
            )
        }

    run, joined = hashes("run"), hashes("participant")
    same = {s for s in run if run[s] == joined[s]}
    assert same == {"scans", "preprocess", "timeseries"}
    assert hashes("session")["pfc"] != joined["pfc"]


def test_copies_of_one_recording_are_not_joined(tmp_path):
    config = write(tmp_path, "participant", runs=RUNS[:2])
    path = Paths(config.results).batch("timeseries", "lab", 0)
    copied = [row_of(REST[0], 50), row_of(REST[1], 71, source_checksum=REST[0])]
    write_table(
        path,
        read_table(path, "timeseries").from_pylist(copied, timeseries_schema(N_ROIS)),
        "timeseries",
    )
    made(config, [connectivity])
    (entry,) = read_manifest(Paths(config.results).manifest("connectivity", "lab", 0))
    assert (entry.scan_id, entry.status, entry.step) == ("lab_sub-01_task-rest", "failed", "join")
    assert f"{REST[0]} and {REST[1]} are copies of one recording (source_checksum)" in entry.reason


def unit_of(*bold, max_empty_rois=0, t_rs=(2.0, 2.0)):
    about = {"residual_dof": 40.0, "source_checksum": None, "series_fingerprint": None}
    named = [about | {"scan_id": f"r{i}", "t_r": t} for i, t in enumerate(t_rs)]
    return Joined("u", tuple(named), bold, len(bold), max_empty_rois)


def test_a_parcel_that_one_run_lacks_is_empty_in_the_joined_series():
    one, other = SERIES[REST[0]].copy(), SERIES[REST[1]].copy()
    one[:, 2] = np.nan
    joined = unit_of(one, other, max_empty_rois=1).series()
    assert np.isnan(joined).all(axis=0).tolist() == [i == 2 for i in range(N_ROIS)]
    other[:, 4] = np.nan
    with pytest.raises(
        ScanExcluded, match="2 parcels are empty in one or another of 2 joined runs"
    ):
        unit_of(one, other, max_empty_rois=1).series()
    one[3, 5] = np.nan
    with pytest.raises(ScanFailed, match="r0: 1 parcels"):
        unit_of(one, other, max_empty_rois=3).series()


def test_other_repetition_times_are_joined_and_said(tmp_path, caplog):
    assert unit_of(t_rs=(2.0, 0.8)).mixed_t_r
    assert not unit_of(t_rs=(2.0, 2.0005)).mixed_t_r
    config = write(tmp_path, "participant", runs=RUNS[:2])
    path = Paths(config.results).batch("timeseries", "lab", 0)
    mixed = [row_of(REST[0], 50), row_of(REST[1], 71, t_r=0.8)]
    write_table(
        path,
        read_table(path, "timeseries").from_pylist(mixed, timeseries_schema(N_ROIS)),
        "timeseries",
    )
    (row,) = rows(made(config, [connectivity]), "connectivity")
    assert row["t_rs"] == [2.0, 0.8]
    assert "1 of 1 joined series are of runs with different repetition times" in caplog.text


def test_two_units_of_one_name_are_refused():
    scans = pd.DataFrame(
        [
            {
                "scan_id": "a",
                "dataset": "d",
                "participant_id": "x_task-y",
                "session": None,
                "task": None,
            },
            {"scan_id": "b", "dataset": "d", "participant_id": "x", "session": None, "task": "y"},
        ]
    )
    with pytest.raises(ScansError, match="would both be called 'd_x_task-y'"):
        units_of(scans, "participant")
    assert units_of(scans, "run").tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"pretrain": {"source": "timeseries"}}, "pretrain.source: found timeseries"),
        (
            {
                "pretrain": {"model": "brainlm-tiny"},
                "tasks": {"t": {"datasets": ["x"], "label": "l", "classes": {"a": [1], "b": [2]}}},
            },
            "a BrainLM uses single runs",
        ),
    ],
)
def test_what_sees_single_runs_is_refused_beside_joined_ones(sections, says):
    raw = {"datasets": {"x": {"kind": "bids", "role": "internal", "path": "."}}}
    with pytest.raises(ConfigError, match=says) as refused:
        parse_config(raw | {"connectivity": {"unit": "session"}} | sections, "study.yaml")
    # the file, the knob and the way out
    for part in ("study.yaml", "connectivity.unit session", "connectivity.unit to run"):
        assert part in str(refused.value)


def test_every_run_and_every_unit_is_accounted_for(tmp_path):
    config = made(write(tmp_path, "participant"))
    flow = {r["Stage"]: r for r in stage_flow(config, ["lab"])}
    counts = ("In", "Ok", "Failed", "Excluded", "Missing", "Counted")
    expected = {
        "scans": (9, 8, 0, 1, 0, "runs"),
        "timeseries": (8, 6, 1, 1, 0, "runs"),
        "connectivity": (4, 4, 0, 0, 0, "joined series"),
        "pfc": (4, 4, 0, 0, 0, "joined series"),
    }
    assert {s: tuple(r[c] for c in counts) for s, r in flow.items()} == expected
    here = {s.stage: (s.entered, s.done, s.failed, s.excluded) for s in standings(config)}
    assert {s: here[s] for s in expected} == {s: v[:4] for s, v in expected.items()}
    assert here["quality"][0] == 9  # pages are of runs
