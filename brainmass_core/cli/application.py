"""The typer application and its error handling."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress

from brainmass_core.cli.command_paths import Commands

app = Commands(
    help="From raw fMRI scans to a diagnosis model a lab can defend.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
logger = logging.getLogger("brainmass_core")


def main() -> None:
    """Run the command; users' errors are shown as one message, without a traceback."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except Exception as error:
        _say(error)
        sys.exit(1)


def _say(error: Exception) -> None:
    """Log one line for errors that users can fix, and a traceback for others."""
    if not _is_the_users(error):
        logger.error("unexpected error: please report it with this traceback", exc_info=error)
        return
    logger.debug("", exc_info=error)
    if not isinstance(error, OSError) or isinstance(error, FileNotFoundError) or not error.errno:
        logger.error("%s", error)  # one of our messages, which is complete
        return
    from brainmass_core.pipeline.disk import explain

    if error.filename is None:  # flushing the rest would fail again at exit
        with suppress(OSError):  # tests may replace the output by a buffer
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    logger.error("%s", explain(error))


def _is_the_users(error: Exception) -> bool:
    if isinstance(error, ValueError | OSError):
        return True
    from brainmass_core.pipeline.batch import BatchError

    return isinstance(error, BatchError)
