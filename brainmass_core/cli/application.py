"""The application, and what becomes of an error."""

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
    """Run the command; users' errors are one message, never a traceback."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except Exception as error:
        _say(error)
        sys.exit(1)


def _say(error: Exception) -> None:
    """One line for what users can mend; a traceback for what they cannot."""
    if not _is_the_users(error):
        logger.error("unexpected error: please report it with this traceback", exc_info=error)
        return
    logger.debug("", exc_info=error)
    if not isinstance(error, OSError) or isinstance(error, FileNotFoundError) or not error.errno:
        logger.error("%s", error)  # ours, which says all
        return
    from brainmass_core.pipeline.disk import explain

    if error.filename is None:  # what is left to print would fail again at the end
        with suppress(OSError):  # a test may have put a buffer in place of the output
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    logger.error("%s", explain(error))


def _is_the_users(error: Exception) -> bool:
    if isinstance(error, ValueError | OSError):
        return True
    from brainmass_core.pipeline.batch import BatchError

    return isinstance(error, BatchError)
