"""The cohort page: all scans are counted, and only planted differences are found."""

import csv
import itertools
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quality_study import BROKEN, MOVED, OK
from scipy import stats
from synthetic_study import N_ROIS, write_study

from brainmass_core.pipeline.paths import Paths
from brainmass_core.quality import cohort as people
from brainmass_core.quality import dataset, run, run_dataset
from brainmass_core.quality.cohort_charts import thinned
from brainmass_core.quality.dataset import freedom
from brainmass_core.quality.duplicates import duplicate_rows
from brainmass_core.quality.motion import motion_in_fc
from brainmass_core.tables import from_rows, read_table, timeseries_schema, write_table


def made(folder, **options):
    """A study of ready series whose quality tables are written, without pages of scans."""
    study = write_study(folder, **options)
    quality = study.config.quality.model_copy(update={"pages": "none"})
    config = study.config.model_copy(update={"quality": quality})
    for batch in range(2):
        run(config, "demo", batch)
    return config


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """Patients move more; two runs per participant."""
    return made(tmp_path_factory.mktemp("moving"), runs=2, motion_effect=0.3)


@pytest.fixture(scope="module")
def cohort(moving):
    return people.read_cohort(moving, "demo")


@pytest.mark.study
def test_every_scan_is_accounted_for_at_every_stage(cohort):
    rows = people.flow(cohort)
    assert rows[0]["In"] == len(cohort) == 120
    for row, following in itertools.pairwise(rows):
        assert row["In"] == row["Ok"] + row["Failed"] + row["Excluded"]
        assert following["In"] == row["Ok"]
    assert rows[-1]["Ok"] == (cohort["status"] == "ok").sum()
    lost = sum(r["Failed"] + r["Excluded"] for r in rows)
    assert lost == len(people.exclusions(cohort)) == 4


@pytest.mark.study
def test_a_planted_difference_in_motion_is_found_and_no_other(cohort, moving):
    names = people.group_columns(moving, "demo")
    assert names == ["task demo_task", "site", "sex"]
    rows = people.differences(cohort, names)
    different = {(r["column"], r["measure"].key) for r in rows if r["q"] < 0.05}
    assert ("task demo_task", "mean_fd") in different
    assert not {d for d in different if d[0] != "task demo_task"}


@pytest.mark.study
def test_groups_are_compared_over_people_not_over_runs(cohort, moving):
    names = people.group_columns(moving, "demo")
    rows = people.differences(cohort, names)
    by_class = next(r for r in rows if r["measure"].key == "mean_fd")["found"]
    assert sum(n for _, n in by_class.medians.values()) == 58, "60 without the two of no class"
    means = cohort.groupby("participant_id").agg({"mean_fd": "mean", "task demo_task": "first"})
    parts = [g["mean_fd"] for _, g in means.groupby("task demo_task")]
    assert by_class.p == pytest.approx(stats.mannwhitneyu(*parts).pvalue)


@pytest.mark.study
def test_q_is_controlled_over_the_whole_table(cohort, moving):
    rows = people.differences(cohort, people.group_columns(moving, "demo"))
    expected = stats.false_discovery_control([r["found"].p for r in rows])
    assert [r["q"] for r in rows] == pytest.approx(expected)


@pytest.mark.study
def test_qc_fc_of_the_tables_is_that_of_all_fc_at_once(moving, cohort):
    found = motion_in_fc(moving, "demo", cohort)
    paths = Paths(moving.results)
    parts = [
        pd.read_parquet(f) for f in sorted(paths.batch("connectivity", "demo", 0).parent.glob("*"))
    ]
    fc = pd.concat(parts).set_index("scan_id")["fc"]
    kept = cohort[cohort["scan_id"].isin(fc.index) & cohort["age"].notna()]
    mean_fc = np.stack(
        [
            np.mean(np.stack(fc[g["scan_id"]].tolist()), axis=0)
            for _, g in kept.groupby("participant_id")
        ]
    )
    person = kept.groupby("participant_id").agg({"mean_fd": "mean", "age": "first", "sex": "first"})
    assert found.covariates == ["age", "sex"]
    assert found.found.n == len(person)
    assert (
        found.n_left_out
        == cohort[(cohort["status"] == "ok") & cohort["age"].isna()]["participant_id"].nunique()
    )
    design = np.column_stack([np.ones(len(person)), person["age"], person["sex"] == "M"])

    def residual(y):
        y = np.asarray(y, dtype=float)
        return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]

    motion, rest = residual(person["mean_fd"]), residual(mean_fc)
    expected = [np.corrcoef(motion, rest[:, e])[0, 1] for e in range(rest.shape[1])]
    np.testing.assert_allclose(found.found.r, expected, atol=1e-5)


@pytest.mark.study
def test_a_small_cohort_has_no_qc_fc_and_says_why(tmp_path, monkeypatch):
    for name in ("chart", "rich_chart"):
        monkeypatch.setattr(dataset, name, lambda _: "")
    config = made(tmp_path, n_participants=12)
    run_dataset(config, "demo")
    assert "needs at least 20" in Paths(config.results).quality("demo").read_text()


@pytest.mark.study
def test_the_page_and_the_csv_beside_it(moving, cohort):
    run_dataset(moving, "demo")
    paths = Paths(moving.results)
    page = paths.quality("demo").read_text()
    assert {"flow", "distributions", "outliers", "groups", "qcfc"} <= set(
        re.findall(r'<section id="(\w+)">', page)
    )
    assert not re.findall(r"https?://|@import|url\(|<link|<iframe|src=\"[^d]", page)
    assert "1 of 20 parcels are constant" in page
    assert "/data/s00.npy: file is truncated" in page
    with open(paths.quality("demo", "scans.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["scan_id"] for r in rows] == cohort["scan_id"].tolist()
    assert float(rows[5]["mean_fd"]) == pytest.approx(cohort["mean_fd"][5], rel=1e-5)
    before = page
    run_dataset(moving, "demo")
    assert paths.quality("demo").read_text() == before


@pytest.mark.study
def test_recordings_that_are_there_twice_are_named(tmp_path, caplog):
    config = made(tmp_path)
    path = Paths(config.results).batch("timeseries", "demo", 0)
    rows = read_table(path, "timeseries").to_pylist()
    one, other = [r for r in rows if r["status"] == "ok"][:2]
    assert not duplicate_rows(config, "demo")
    other["series_fingerprint"] = one["series_fingerprint"]
    write_table(path, from_rows(rows, timeseries_schema(N_ROIS)), "timeseries")
    (row,) = duplicate_rows(config, "demo")
    assert row["scans"] == sorted([one["scan_id"], other["scan_id"]])
    assert len(row["people"]) == 2
    assert "are the same recording (a copy of the series)" in caplog.text
    run_dataset(config, "demo")
    page = Paths(config.results).quality("demo").read_text()
    assert "Duplicate recordings" in page
    assert f"{row['scans'][0]}, {row['scans'][1]}" in page


@pytest.mark.study
def test_scans_that_stand_out_link_to_their_pages(raw_study):
    page = Paths(raw_study.results).quality("raw").read_text()
    folder = Paths(raw_study.results).quality("raw").parent
    links = re.findall(r'href="(scans/[^"]*)"', page)
    assert {f"scans/{MOVED}.html", f"scans/{BROKEN}.html"} <= set(links)
    assert f"scans/{OK}.html" not in links
    assert all((folder / link).exists() for link in links)


@pytest.mark.study
def test_a_scan_beyond_a_threshold_stands_out_even_alone(raw_study):
    cohort = people.read_cohort(raw_study, "raw")
    _, outliers = people.judged(cohort, raw_study)
    assert set(outliers["scan_id"]) == {MOVED}
    assert set(outliers["light"]) == {"bad"}


@pytest.mark.study
def test_a_configured_group_column_replaces_the_tasks(moving, tmp_path):
    quality = moving.quality.model_copy(update={"group_column": "dx"})
    config = moving.model_copy(update={"quality": quality})
    assert people.group_columns(config, "demo") == ["dx", "site", "sex"]
    cohort = people.read_cohort(config, "demo")
    rows = people.differences(cohort, ["dx"])
    assert set(rows[0]["found"].medians) == {"1.0", "2.0"}
    absent = quality.model_copy(update={"group_column": "nowhere"})
    other = moving.model_copy(update={"quality": absent})
    assert people.differences(people.read_cohort(other, "demo"), ["nowhere"]) == []


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300), st.integers(2, 50))
def test_thinned_points_keep_their_ends_and_their_order(values, limit):
    kept = thinned(np.array(values), limit)
    assert len(kept) == min(len(values), limit)
    assert (kept[0], kept[-1]) == (min(values), max(values))
    assert (np.diff(kept) >= 0).all()


def test_freedom_lost_to_motion_is_seen():
    motion = np.linspace(0.05, 0.5, 40)
    cohort = pd.DataFrame({"status": "ok", "mean_fd": motion, "residual_dof": 100 - 50 * motion})
    assert freedom(cohort)["rho"] == "-1.00"
    assert freedom(cohort.assign(residual_dof=60.0)) is None
