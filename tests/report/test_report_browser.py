"""The pages in a real browser: complete, readable at both widths, and with sortable tables."""

import pytest
from chromium import needs_chromium, probed

from brainmass_core.pipeline.paths import FIGURES, Paths

pytestmark = [pytest.mark.study, needs_chromium]
# the page reports on itself; each table is sorted by each column in both directions
PROBE = """
<script>
const failed = [];
addEventListener("error", e => failed.push(e.message));
addEventListener("load", () => {
  const of = q => [...document.querySelectorAll(q)];
  for (const d of of("details")) d.open = true;
  const out = {
    wide: document.documentElement.scrollWidth - innerWidth,
    broken: of("img").filter(i => !i.complete || !i.naturalWidth).length,
    pictures: of("img").length,
    requests: performance.getEntriesByType("resource")
      .filter(r => !r.name.startsWith("data:")).map(r => r.name),
    small: of("td, th, p, li, figcaption, .interval").filter(e => e.innerText.trim())
      .filter(e => parseFloat(getComputedStyle(e).fontSize) < 11.5).length,
    outside: of("main *").filter(e => !e.closest(".scroll, pre") &&
      e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80)),
    boxes: of(".chart .box").length, tables: of("table.sortable").length, unsorted: [],
  };
  const key = (row, i) => row.cells[i].dataset.sort ?? row.cells[i].textContent.trim();
  for (const table of of("table.sortable")) [...table.tHead.rows[0].cells].forEach((head, i) => {
    for (const way of ["ascending", "descending"]) {
      head.querySelector("button").click();
      const found = [...table.tBodies[0].rows].map(r => key(r, i));
      const numbers = found.every(v => v !== "" && !isNaN(v));
      const given = numbers ? found.map(Number) : [];
      if (way === "descending") given.reverse();
      if (head.getAttribute("aria-sort") !== way ||
          given.some((v, k) => k && v < given[k - 1])) out.unsorted.push(table.id + " " + i);
    }
  });
  out.errors = failed;
  document.title = "x";
  document.body.innerHTML = "<pre id=probe></pre>";
  document.getElementById("probe").textContent = JSON.stringify(out);
});</script>
"""


def check(found: dict) -> None:
    assert found["errors"] == found["console"] == []
    assert found["wide"] <= 0
    assert found["outside"] == []
    assert found["broken"] == 0
    assert found["requests"] == []
    assert found["small"] == 0
    assert found["unsorted"] == []
    assert found["tables"] > 3


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_a_task_is_whole_and_fits_its_window(width, adapted, tmp_path):
    found = probed(Paths(adapted.results).report("demo_task"), PROBE, width, tmp_path)
    check(found)
    assert found["pictures"] == len(FIGURES) - 1, "all but that of regressions"
    assert found["boxes"] == 6


@pytest.mark.parametrize("width", [1280, 390])
def test_the_front_page_is_whole_and_fits_its_window(width, study, tmp_path):
    check(probed(study.paths.report("index"), PROBE, width, tmp_path))


def test_an_error_of_the_page_is_noticed(study, tmp_path):
    page = tmp_path / "broken.html"
    text = study.paths.report("index").read_text()
    wide = "<script>undefined_function()</script><div style='width:2000px'>x</div></main>"
    page.write_text(text.replace("</main>", wide))
    (tmp_path / "probe").mkdir()
    found = probed(page, PROBE, 390, tmp_path / "probe")
    assert found["console"] or found["errors"]
    assert found["wide"] > 0
