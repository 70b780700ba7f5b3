"""A page in a real browser, and what a script in the page reports."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--allow-file-access-from-files", "--virtual-time-budget=20000", "--dump-dom"),
    *("--enable-logging=stderr", "--log-level=0", "--window-size=1400,2000"),
)
# virtual time stops while anything loads, however slow the machine is
FRAME = """<iframe id="f" width="{width}" height="1800" style="border:0" src="file://{page}"></iframe>
<pre id="result"></pre>
<script>const waiting = setInterval(() => {{
  const probe = document.getElementById("f").contentDocument.getElementById("probe");
  if (!probe) return;
  clearInterval(waiting);
  document.getElementById("result").textContent = "found" + probe.textContent;
}}, 50);</script>"""


def probed(page: Path, script: str, width: int, folder: Path) -> dict:
    """Report of a page in a frame of this width, with Chromium's messages as ``console``.

    Parameters
    ----------
    script : str
        HTML put into the page's head. It leaves its answer as JSON in an element ``probe``.
    folder : Path
        For a copy of the page and Chromium's profile.
    """
    copy = folder / page.name
    copy.write_text(page.read_text().replace("<head>", "<head>" + script, 1))
    # Chromium's window is never narrower than 500 pixels; a frame can be
    (folder / "frame.html").write_text(FRAME.format(width=width, page=copy))
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"file://{folder}/frame.html"],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert 'id="result">found{' in done.stdout, done.stderr[-2000:]
    text = done.stdout.split('id="result">found')[1].split("</pre>")[0]
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(text)) | {"console": said}
