"""The log of a command: plain lines to the terminal, everything to a file."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import suppress
from pathlib import Path

from brainmass_core.cli.application import logger


class LogFile(logging.FileHandler):
    """A log file that stops with one message on the terminal if its disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - of logging
        """Report once why the log stops; the command continues."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.setLevel(logging.CRITICAL + 1)
        from brainmass_core.pipeline.disk import explain

        failed = OSError(error.errno, error.strerror, self.baseFilename)
        print(f"the log ends here: {explain(failed)}", file=sys.stderr)

    def close(self) -> None:
        """Discard records that could not be written before."""
        with suppress(OSError):
            super().close()


def start_log(path: Path | None) -> None:
    """Log plain lines to the terminal, and everything, including tracebacks, to the file."""
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [console]
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = LogFile(path, mode="w", encoding="utf-8")
        file.setLevel(logging.DEBUG)
        handlers.append(file)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=handlers,
    )
    logger.setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    warnings.simplefilter("default", category=UserWarning)
