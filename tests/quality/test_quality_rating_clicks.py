"""Ratings by real clicks and keys in Chromium, on pages opened as files."""

import shutil

import pytest
from cdp import Browser
from chromium import needs_chromium
from quality_study import BROKEN, LISTED, MOVED, OK

from brainmass_core.pipeline.paths import Paths
from brainmass_core.readers.ratings import read_ratings
from brainmass_core.tables import read_table

pytestmark = [pytest.mark.study, needs_chromium]
ORDER = [BROKEN, LISTED, MOVED, OK]
SAVED = "document.getElementById('said').textContent"
CHECKED = "document.querySelector('[name=rating]:checked')?.value ?? ''"
LISTED_SCANS = "[...document.querySelectorAll('#scans tbody a')].map(a => a.textContent)"


@pytest.fixture
def pages(raw_study, tmp_path):
    """A copy of the study's quality pages, so that storage and links are those of this test."""
    folder = tmp_path / "quality" / "raw"
    shutil.copytree(Paths(raw_study.results).quality("raw").parent, folder)
    return folder


@pytest.fixture
def browser(tmp_path):
    with Browser(tmp_path) as found:
        found.resize(1280)
        yield found


def hashes(config):
    table = read_table(Paths(config.results).batch("quality", "raw", 0), "quality")
    return dict(zip(table["scan_id"].to_pylist(), table["page_hash"].to_pylist(), strict=True))


def sign(browser, name):
    browser.value("document.getElementById('rater').value = ''")
    browser.click("#rater")
    browser.type(name)
    browser.value("document.getElementById('rater').blur()")


def test_a_clicked_rating_is_downloaded_as_the_reader_reads_it(pages, browser, raw_study, tmp_path):
    browser.open(pages / "scans" / f"{OK}.html")
    browser.click(".word.exclude")
    assert browser.value(SAVED) == "Write your name first."
    assert browser.value(CHECKED) == "", "nothing is rated without a name"
    sign(browser, "Ada L")
    browser.click(".word.exclude")
    browser.click("[value=ghosting]")
    browser.click("[value=motion]")
    browser.click("#comment")
    browser.type('two\tcells\nand "quotes", #1 é')
    assert browser.value(SAVED) == "Saved."
    file = tmp_path / "ada.tsv"
    file.write_text(browser.download(lambda: browser.click("#download")))
    (found,) = read_ratings([file])
    assert (found.scan_id, found.rating, found.rater) == (OK, "exclude", "Ada L")
    assert found.artefacts == ("motion", "ghosting")
    assert found.comment == 'two cells and "quotes", #1 é'
    assert found.page_hash == hashes(raw_study)[OK]
    assert found.time.endswith("Z")
    assert browser.said == []


def test_keys_rate_tick_comment_and_go_to_the_neighbours(pages, browser):
    browser.open(pages / "scans" / f"{LISTED}.html")
    sign(browser, "Ada")
    for key in "uer":  # the last rating counts
        browser.key(key)
    assert browser.value(CHECKED) == "exclude"
    browser.key("c")
    browser.type("e")  # in the comment letters are text
    browser.key("n")
    assert browser.value("document.getElementById('comment').value") == "en"
    browser.key("Escape")
    browser.follow(lambda: browser.key("n"))
    assert browser.value("document.title") == MOVED
    assert browser.value(CHECKED) == ""
    browser.key("a")
    browser.follow(lambda: browser.key("p"))
    assert browser.value("document.title") == LISTED
    assert browser.value(CHECKED) == "exclude"
    assert browser.value("document.querySelector('[value=registration]').checked")
    assert browser.value("document.getElementById('position').textContent") == "2 of 4"
    browser.follow(lambda: browser.click("#previous"))
    assert browser.value("document.title") == BROKEN
    assert not browser.value("document.getElementById('previous').href"), "it is the first"
    assert browser.said == []


def test_the_cohort_page_shows_progress_and_filters(pages, browser):
    browser.open(pages / "scans" / f"{OK}.html")
    sign(browser, "Ada")
    browser.key("a")
    browser.open(pages / "scans" / f"{MOVED}.html")
    browser.key("e")
    browser.open(pages / "index.html")
    assert browser.value("document.getElementById('progress').textContent") == "2 of 4 scans rated"
    assert browser.value(LISTED_SCANS) == ORDER
    browser.click("#search")
    browser.type("MOVED")
    assert browser.value(LISTED_SCANS) == [MOVED]
    browser.click("#search")
    browser.value(
        "(() => { const s = document.getElementById('search'); s.value = '';"
        " s.dispatchEvent(new Event('input')); })()"
    )
    for select, option, expected in (
        ("shown", "none", [BROKEN, LISTED]),
        ("shown", "exclude", [MOVED]),
        ("shown", "", ORDER),
        ("flag", "failed", [BROKEN]),
        ("flag", "Mean framewise displacement", [MOVED]),
    ):
        choose(browser, select, option)
        assert browser.value(LISTED_SCANS) == expected, option
    browser.follow(lambda: browser.click("#scans tbody a"))
    assert browser.value("document.title") == MOVED
    assert browser.said == []


def choose(browser, select, option):
    browser.value(
        f"(() => {{ const s = document.getElementById('{select}'); s.value = '{option}';"
        " s.dispatchEvent(new Event('input')); })()"
    )


def test_two_raters_on_one_computer_do_not_see_each_others_ratings(pages, browser):
    browser.open(pages / "scans" / f"{OK}.html")
    sign(browser, "Ada")
    browser.key("e")
    sign(browser, "Bo")
    assert browser.value(CHECKED) == ""
    browser.key("a")
    sign(browser, "Ada")
    assert browser.value(CHECKED) == "exclude"


def test_a_page_that_has_changed_since_says_so(pages, browser, raw_study):
    page = pages / "scans" / f"{OK}.html"
    browser.open(page)
    sign(browser, "Ada")
    browser.key("a")
    page.write_text(page.read_text().replace(hashes(raw_study)[OK], "0123456789ab"))
    browser.open(page)
    assert "has changed since" in browser.value(SAVED)
    browser.key("a")
    browser.click(".word.accept")
    browser.click(".word.uncertain")
    assert browser.value(SAVED) == "Saved."


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_the_panel_covers_no_more_than_part_of_the_window(width, pages, browser):
    browser.resize(width)
    browser.open(pages / "scans" / f"{OK}.html")
    box = browser.value(
        "(() => { const r = document.getElementById('rating').getBoundingClientRect();"
        " return [r.left, r.right, r.top, r.bottom]; })()"
    )
    left, right, top, bottom = box
    assert left >= 0
    assert right <= width
    assert top >= 0
    assert bottom <= 900
    if width < 1920:
        assert bottom - top < 340
    else:
        text = browser.value("document.querySelector('main').getBoundingClientRect().right")
        assert left >= text, "it is next to the page"
