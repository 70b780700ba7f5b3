"""The pages in a real browser: nothing is fetched, nothing overflows, the two images alternate."""

import pytest
from chromium import needs_chromium, probed
from quality_study import OK

from brainmass_core.pipeline.paths import Paths

pytestmark = [pytest.mark.study, needs_chromium]
# the page reports widths, broken pictures, requests and animations
PROBE = """
<script>addEventListener("load", () => {
  const of = q => [...document.querySelectorAll(q)];
  const out = {
    wide: document.documentElement.scrollWidth - innerWidth,
    broken: of("img").filter(i => !i.complete || !i.naturalWidth).length,
    pictures: of("img").length,
    requests: performance.getEntriesByType("resource")
      .filter(r => !r.name.startsWith("data:")).length,
    moving: document.getAnimations().filter(a => a.playState === "running").length,
    small: of("td, p, dd").filter(e => e.innerText.trim())
      .filter(e => parseFloat(getComputedStyle(e).fontSize) < 12).length,
  };
  const choice = document.querySelector(".first");
  if (choice) { choice.checked = true; out.held = document.getAnimations().length; }
  document.title = "x";
  document.body.innerHTML = "<pre id=probe>" + JSON.stringify(out) + "</pre>";
});</script>
"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", ["scan", "cohort"])
def test_a_page_fits_its_window_and_is_whole(which, width, raw_study, tmp_path):
    paths = Paths(raw_study.results)
    page = paths.scan_page("raw", OK) if which == "scan" else paths.quality("raw")
    found = probed(page, PROBE, width, tmp_path)
    assert found["wide"] <= 0
    assert found["broken"] == 0
    assert found["requests"] == 0
    assert found["small"] == 0
    if which == "scan":
        assert found["pictures"] == 8 * (1 + 2 + 2 + 1 + 1) + 5
        assert found["moving"] == 16, "the upper frame of every tile that flickers"
        assert found["held"] == 8, "choosing one image holds that section and no other"
