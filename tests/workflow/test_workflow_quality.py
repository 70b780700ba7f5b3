"""The quality pages as part of the DAG: made by `all`, linked, and not made again for nothing."""

import re
from pathlib import Path

import pytest
import study
from test_workflow_targets import planned

pytestmark = pytest.mark.slow

WHAT = ("quality_batch", "quality_dataset")


def links(page: Path) -> list[Path]:
    """Local files that a page links to."""
    found = re.findall(r'<a href="([^"#:]+)"', page.read_text())
    return [(page.parent / link).resolve() for link in found]


def test_every_link_from_the_front_page_to_a_scan_leads_somewhere(finished_study):
    results = (finished_study / "results").resolve()
    front, cohort = results / "report/index.html", results / "quality/ready/index.html"
    assert cohort in links(front)
    assert all(page.exists() for page in links(front) + links(cohort))
    scans = list((results / "quality/ready/scans").glob("*.html"))
    assert "ready_scan001.html" in {page.name for page in scans}, "the damaged scan has a page"
    assert all(cohort in links(page) for page in scans)


def test_a_quality_knob_draws_pages_again_and_computes_nothing_else(finished_study):
    knob = ("--config", "quality={'outlier_z': 2.0}")
    jobs = planned(study.snakemake(finished_study, "--dry-run", "--cores", "1", *knob))
    assert set(WHAT) <= jobs
    assert not {j for j in jobs if "batch" in j} - {"quality_batch"}
    assert not jobs & {"pretrain", "finetune_task", "report_task"}


def test_other_classes_of_a_task_make_the_cohort_page_anew_and_no_scan_page(finished_study):
    knob = ("--config", "tasks={'diagnosis': {'classes': {'control': ['2'], 'patient': ['1']}}}")
    jobs = planned(study.snakemake(finished_study, "--dry-run", "--cores", "1", "quality", *knob))
    assert jobs == {"quality_dataset", "quality"}


@pytest.mark.nightly
def test_a_killed_run_goes_on(finished_study, ready_series, tmp_path):
    folder = tmp_path / "killed"
    study.finished_before("quality", finished_study, folder)
    pages = {"quality": {"pages": "all"}}
    study.write_config(folder, study.ready_series_config(ready_series, **pages))
    results = folder / "results"

    def ready() -> bool:
        return len(study.kept(results, "quality")) >= 3

    assert study.kill_when(folder, ready, "all", "quality"), "the run ended before"
    drawn = {p: p.stat().st_mtime_ns for p in results.glob("quality/*/scans/*.html")}
    study.succeed(folder, "quality")
    kept = [p for p, t in drawn.items() if p.stat().st_mtime_ns == t]
    assert len(kept) >= 3, "finished pages are not drawn again"
    assert len(list(results.glob("quality/ready/scans/*.html"))) == 32
    for batch in range(2):
        name = f"quality/ready/{batch}.parquet"
        ours, theirs = (study.contents(f / "results")[name] for f in (folder, finished_study))
        assert ours.drop_columns(["page"]) == theirs.drop_columns(["page"])
