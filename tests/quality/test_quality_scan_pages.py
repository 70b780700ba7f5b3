"""The page of each scan: complete, self-contained, and explicit about missing data."""

import re
from pathlib import Path

import numpy as np
import pytest
from quality_study import BROKEN, LISTED, MOVED, N_VOLUMES, OK

from brainmass_core.pipeline import batch
from brainmass_core.pipeline.batch import IN_LINE
from brainmass_core.pipeline.paths import Paths
from brainmass_core.quality import run, stage
from brainmass_core.quality.inputs import list_items
from brainmass_core.quality.page import engines_text
from brainmass_core.quality.sections import SECTIONS, Sources, cleaned
from brainmass_core.tables import TableError, read_table
from brainmass_core.timeseries.denoise import clean
from brainmass_core.timeseries.design import design_matrix

PICTURES = set(SECTIONS)


def rows_of(config) -> dict[str, dict]:
    table = read_table(Paths(config.results).batch("quality", "raw", 0), "quality")
    return {r["scan_id"]: r for r in table.to_pylist()}


def sections(page: str) -> set[str]:
    return set(re.findall(r'<section id="(\w+)">', page))


@pytest.mark.study
def test_every_scan_of_the_batch_has_a_row_and_a_page_whatever_became_of_it(raw_study, scan_pages):
    rows = rows_of(raw_study)
    assert set(rows) == set(scan_pages) == {OK, MOVED, BROKEN, LISTED}
    fates = {s: (r["stage"], r["status"]) for s, r in rows.items()}
    assert fates == {
        OK: ("", "ok"),
        MOVED: ("preprocess", "excluded"),
        BROKEN: ("preprocess", "failed"),
        LISTED: ("scans", "excluded"),
    }
    assert all((raw_study.results / r["page"]).exists() for r in rows.values())


@pytest.mark.study
def test_a_scan_with_all_derivatives_has_all_pictures(scan_pages):
    assert sections(scan_pages[OK]) >= PICTURES
    assert "missing" not in sections(scan_pages[OK])


@pytest.mark.study
def test_a_lost_scan_says_why_what_to_do_and_what_was_measured(scan_pages):
    assert "This scan failed in preprocess." in scan_pages[BROKEN]
    assert "What to do: copy it again." in scan_pages[BROKEN]
    assert "sidecar and header disagree" in scan_pages[LISTED]
    assert "0.900 mm" in scan_pages[MOVED]
    assert not sections(scan_pages[MOVED]) & PICTURES
    assert scan_pages[MOVED].count("did not get far enough") == 8


def test_engines_are_named_once_and_the_odd_ones_by_step():
    steps = [("motion", "embedded"), ("brain_extraction", "fsl"), ("normalisation", "embedded")]
    assert engines_text(steps) == "embedded; brain extraction: fsl"
    assert engines_text([]) == ""


@pytest.mark.study
def test_text_from_elsewhere_is_escaped(scan_pages):
    assert "moved &lt;b&gt;a lot&lt;/b&gt;" in scan_pages[MOVED]


@pytest.mark.study
@pytest.mark.parametrize("scan", [OK, MOVED])
def test_a_page_needs_nothing_outside_itself(scan, scan_pages, raw_study):
    page = scan_pages[scan]
    assert not re.findall(r"https?://|@import|url\(|<link|<iframe|<script", page)
    sources = re.findall(r'src="([^"]*)"', page)
    assert all(s.startswith("data:image/webp;base64,") for s in sources)
    folder = Paths(raw_study.results).quality("raw", "scans")
    links = re.findall(r'href="([^"]*)"', page)
    assert links
    assert all((folder / link).exists() for link in links)
    assert len(page) < 600_000


@pytest.mark.study
def test_the_numbers_are_those_of_the_tables(raw_study):
    row = rows_of(raw_study)[OK]
    assert row["mean_fd"] == 0.12
    assert row["censored_fraction"] == pytest.approx(2 / N_VOLUMES)
    assert row["min_coverage"] == pytest.approx(0.4)
    item = list_items(raw_study, "raw", 0)[OK]
    assert row["mean_abs_fc"] == pytest.approx(np.abs(item.fc).mean())
    rois, columns = np.triu_indices(12, 1)
    same = rois % 3 == columns % 3
    contrast = item.fc[same].mean() - item.fc[~same].mean()
    assert row["network_contrast"] == pytest.approx(contrast)


@pytest.mark.study
def test_the_carpet_after_is_the_very_cleaning_of_the_series(raw_study):
    sources = Sources(list_items(raw_study, "raw", 0)[OK])
    series = np.random.default_rng(0).standard_normal((N_VOLUMES, 5))
    found = cleaned(series, sources)
    settings, confounds = raw_study.timeseries, sources.confounds
    censored = confounds["framewise_displacement"].to_numpy() > 0.3
    expected = clean(
        series,
        2.0,
        design_matrix(confounds, settings).to_numpy(),
        *(0.01, 0.1, "regress_then_filter"),
        n_drift=3,
        censored=censored,
        method="interpolate",
    ).series
    np.testing.assert_allclose(found[~censored], expected)
    assert np.isnan(found[censored]).all()


@pytest.mark.study
def test_the_same_tables_give_the_same_pages(own_raw, scan_pages):
    run(own_raw, "raw", 0)
    folder = Paths(own_raw.results).quality("raw", "scans")
    assert {f.stem: f.read_text() for f in folder.glob("*.html")} == scan_pages


@pytest.mark.study
@pytest.mark.parametrize(
    ("name", "hit", "spared"),
    [
        ("carpet", "carpet", "motion"),
        ("tsnr", "tsnr", "bold_mask"),
        ("confounds", "motion", "coverage"),
        ("tissue", "outlines", "fc"),
        ("motion", "coregistration", "outlines"),
    ],
)
def test_a_damaged_file_costs_its_pictures_and_no_other(name, hit, spared, own_raw):
    item = list_items(own_raw, "raw", 0)[OK]
    with open(item.files[name], "r+b") as file:
        file.truncate(20)
    assert SECTIONS[hit](Sources(item)).missing
    assert not SECTIONS[spared](Sources(item)).missing


@pytest.mark.study
@pytest.mark.parametrize(
    ("name", "hit"),
    [
        ("tsnr", "tsnr"),
        ("confounds", "motion"),
        ("motion", "coregistration"),
        ("normalisation", "template"),
    ],
)
def test_a_file_that_is_no_longer_what_preprocess_wrote_is_not_drawn(name, hit, own_raw):
    item = list_items(own_raw, "raw", 0)[OK]
    file = Path(item.files[name])
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    missing = SECTIONS[hit](Sources(item)).missing
    assert str(file) in missing
    assert "sha256" in missing
    assert "run preprocess again" in missing


@pytest.mark.study
@pytest.mark.parametrize(("pages", "left"), [("flagged", {MOVED, BROKEN, LISTED}), ("none", set())])
def test_pages_that_are_not_wanted_are_removed(pages, left, own_raw, monkeypatch):
    monkeypatch.setattr(stage, "scan_page", lambda *_: "a page")
    run(own_raw, "raw", 0)
    quality = own_raw.quality.model_copy(update={"pages": pages})
    config = own_raw.model_copy(update={"quality": quality})
    run(config, "raw", 0)
    folder = Paths(config.results).quality("raw", "scans")
    assert {f.stem for f in folder.glob("*.html")} == left
    assert {s for s, r in rows_of(config).items() if r["page"]} == left


@pytest.mark.study
def test_a_missing_table_says_which_command_makes_it(own_raw):
    Paths(own_raw.results).batch("timeseries", "raw", 0).unlink()
    with pytest.raises(TableError, match="run: snakemake --cores all timeseries"):
        run(own_raw, "raw", 0)


@pytest.mark.study
def test_nothing_is_drawn_again_after_a_kill(own_raw, monkeypatch):
    drawn = []
    monkeypatch.setenv(IN_LINE, "1")  # so that the pages are counted in this process
    monkeypatch.setattr(stage, "scan_page", lambda item, _: drawn.append(item) or "a page")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(batch, "_publish", killed)
        with pytest.raises(KeyboardInterrupt):
            run(own_raw, "raw", 0)
    assert len(drawn) == 4
    run(own_raw, "raw", 0)
    assert len(drawn) == 4
    assert Paths(own_raw.results).batch("quality", "raw", 0).exists()
