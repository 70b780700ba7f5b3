"""The BIDS validator, if it is installed (package ``bids-validator-deno``)."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
PROGRAM = "bids-validator-deno"
UNREAD = {"NOT_INCLUDED", "EMPTY_FILE"}  # files that BIDS does not know; they are not read
SHOWN = 10


class BidsError(ValueError):
    """A data set that is not valid BIDS."""


def validate(root: Path) -> None:
    """Ask the validator about a raw data set; without it, say so.

    Raises
    ------
    BidsError
        If it reports errors, other than files that BIDS does not know.
    """
    program = Path(sys.executable).with_name(PROGRAM)
    found = str(program) if program.exists() else shutil.which(PROGRAM)
    if found is None:
        log.info("%s: not validated, because %s is not installed", root, PROGRAM)
        return
    command = [found, str(root), "--format", "json", "--ignoreWarnings"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        issues = json.loads(done.stdout)["issues"]["issues"]
    except (ValueError, LookupError, TypeError):
        log.warning("%s: not validated: %s does not run here: %s", root, PROGRAM, done.stderr[:300])
        return
    errors = [issue for issue in issues if issue.get("severity") == "error"]
    unread = [e for e in errors if e.get("code") in UNREAD]
    for issue in unread:
        log.warning("%s%s: is not part of BIDS (%s)", root, issue.get("location"), issue["code"])
    refuse(root, [e for e in errors if e.get("code") not in UNREAD])


def refuse(root: Path, errors: list[dict[str, Any]]) -> None:
    """Refuse a data set with errors; each kind is described once.

    Raises
    ------
    BidsError
        If there are any.
    """
    if not errors:
        return
    lines = []
    for code, n in Counter(str(e.get("code")) for e in errors).most_common(SHOWN):
        first = next(e for e in errors if str(e.get("code")) == code)
        about = " ".join(str(first.get(k) or "") for k in ("location", "subCode", "issueMessage"))
        lines.append(f"  {code}, {n} times, such as {' '.join(about.split())[:200]}")
    raise BidsError(
        f"{root}: the BIDS validator reports {len(errors)} errors\n"
        + "\n".join(lines)
        + "\nCorrect them, or add --skip-bids-validation: scans that cannot be read are excluded"
    )
