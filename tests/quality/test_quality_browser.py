"""The pages in a real browser: nothing is fetched, nothing overflows, the flicker flickers."""

import json
import shutil
import subprocess

import pytest
from quality_study import OK

from brainmass_core.paths import Paths

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# the page reports on itself: widths, broken pictures, requests, what animates
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


def probed(page, width, tmp_path) -> dict:
    """What the page says of itself in a window of this width."""
    copy = page.parent / f".probe-{width}-{page.name}"
    copy.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    try:
        # Chromium's window is never narrower than 500 pixels; a frame can be
        frame = tmp_path / "frame.html"
        frame.write_text(_frame(copy, width))
        done = subprocess.run(
            [
                *(CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"),
                *("--allow-file-access-from-files", "--virtual-time-budget=4000", "--dump-dom"),
                *(f"--window-size={max(width, 600)},2000", f"file://{frame}"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        copy.unlink()
    assert 'id="result">{' in done.stdout, done.stderr[-2000:]
    return json.loads(done.stdout.split('id="result">')[1].split("</pre>")[0])


def _frame(page, width: int) -> str:
    return f"""<iframe id="f" width="{width}" height="1800" style="border:0" src="file://{page}"></iframe>
<pre id="result"></pre>
<script>setTimeout(() => {{
  const probe = document.getElementById("f").contentDocument.getElementById("probe");
  document.getElementById("result").textContent = probe.textContent;
}}, 2500);</script>"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", ["scan", "cohort"])
def test_a_page_fits_its_window_and_is_whole(which, width, raw_study, tmp_path):
    paths = Paths(raw_study.results)
    page = paths.scan_page("raw", OK) if which == "scan" else paths.quality("raw")
    found = probed(page, width, tmp_path)
    assert found["wide"] <= 0
    assert found["broken"] == 0
    assert found["requests"] == 0
    assert found["small"] == 0
    if which == "scan":
        assert found["pictures"] == 8 * (1 + 2 + 2 + 1 + 1) + 5
        assert found["moving"] == 16, "the upper frame of every tile that flickers"
        assert found["held"] == 8, "choosing one image holds that section and no other"
