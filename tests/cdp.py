"""Chromium with real clicks and keys, through the DevTools protocol over a pipe."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from chromium import CHROMIUM

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--remote-debugging-pipe", "--hide-scrollbars"),
)
HANGS = 240.0  # seconds


class Browser:
    """One tab of a headless Chromium; use it in a ``with`` block.

    Parameters
    ----------
    folder : Path
        For Chromium's profile, and for what pages download.
    """

    def __init__(self, folder: Path) -> None:
        self.downloads = folder / "downloads"
        self.said: list[str] = []  # errors and messages of the pages
        self._events: list[dict] = []
        self._id, self._buffer = 0, b""
        ours, theirs = os.pipe(), os.pipe()
        self._to, self._from = ours[1], theirs[0]
        self._process = subprocess.Popen(
            [
                *("bash", "-c", f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}', "bash"),
                *(CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"),
            ],
            pass_fds=(ours[0], theirs[1]),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(ours[0])
        os.close(theirs[1])
        target = self._send("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._send("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        where = {"behavior": "allow", "downloadPath": str(self.downloads), "eventsEnabled": True}
        self._send("Browser.setDownloadBehavior", where)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def call(self, method: str, **params: Any) -> dict:
        """A command to the tab."""
        return self._send(method, params, self._session)

    def _send(self, method: str, params: dict, session: str | None = None) -> dict:
        self._id += 1
        message = {"id": self._id, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._id:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _read(self) -> dict:
        end = time.monotonic() + HANGS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            self._buffer += os.read(self._from, 1 << 20)
        text, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(text)

    def _note(self, event: dict) -> None:
        self._events.append(event)
        if event["method"] == "Runtime.exceptionThrown":
            self.said.append(str(event["params"]["exceptionDetails"]))
        if event["method"] == "Log.entryAdded":
            self.said.append(event["params"]["entry"]["text"])

    def wait_for(self, name: str, **having: Any) -> dict:
        """Wait for an event whose parameters have these values."""
        while True:
            for i, event in enumerate(self._events):
                params = event.get("params", {})
                if event["method"] == name and having.items() <= params.items():
                    del self._events[i]
                    return params
            self._note(self._read())

    # --- what a person does ----------------------------------------------------------------------

    def open(self, page: Path | str) -> None:
        """Open a page and wait until it has loaded."""
        self._events.clear()
        url = page if isinstance(page, str) else page.as_uri()
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def resize(self, width: int, height: int = 900) -> None:
        """Set the size of the window in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def value(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def click(self, selector: str) -> None:
        """Click in the middle of the first element that a selector finds."""
        x, y = self.value(
            f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: "center"}}); const r = e.getBoundingClientRect();
            return [r.x + r.width / 2, r.y + r.height / 2]; }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            at = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", **at)

    def key(self, key: str) -> None:
        """Press one key; a letter types it if a text field has the focus."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, text: str) -> None:
        """Type a text into the field that has the focus."""
        self.call("Input.insertText", text=text)

    def follow(self, act: Any) -> None:
        """Do something that opens another page, and wait for it."""
        self._events.clear()
        act()
        self.wait_for("Page.loadEventFired")

    def download(self, act: Any) -> str:
        """Do something that downloads a file; its text."""
        act()
        name = self.wait_for("Browser.downloadWillBegin")["suggestedFilename"]
        self.wait_for("Browser.downloadProgress", state="completed")
        return (self.downloads / name).read_text()

    def screenshot(self, file: Path) -> None:
        """Write what the window shows as a PNG."""
        import base64

        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
