"""Error messages for full, read-only or forbidden disks: one line with path and remedy."""

from __future__ import annotations

import errno
import re

FULL = {errno.ENOSPC, errno.EDQUOT}
STOP = FULL | {errno.EROFS, errno.EFBIG}  # only raised by writing, never caused by a scan
DENIED = {errno.EACCES, errno.EPERM}
REMEDIES = dict.fromkeys(FULL, "free space there, or name a folder on another disk") | {
    errno.EROFS: "name a folder that can be written, or mount the disk for writing",
    errno.EFBIG: "raise the limit of the size of a file (`ulimit -f`), or use another disk",
    errno.EIO: "the disk or the network drive has input/output errors: check it",
    errno.ENAMETOOLONG: "choose shorter names, or a folder with a shorter path",
}
DENIED_REMEDY = "correct the permissions, or name another folder"
RUST = re.compile(r"\(os error (\d+)\)")  # format of system errors in safetensors


def of_the_system(error: BaseException) -> OSError | None:
    """The operating system's error behind an exception, whichever library raised it."""
    if isinstance(error, OSError):
        return error
    found = RUST.search(str(error))
    if type(error).__name__ == "SafetensorError" and found:
        number = int(found[1])
        return OSError(number, str(error).split(" (os error")[0])
    return None


def explain(error: OSError) -> str:
    """One line with the path, the operation, the system's message and the remedy."""
    place = str(error.filename) if error.filename is not None else "standard output or a file"
    said = error.strerror or str(error) or type(error).__name__
    number = error.errno
    if number in STOP:
        tried, remedy = "cannot write", REMEDIES[number]
    elif number in DENIED:
        tried, remedy = "no permission to read or write it", DENIED_REMEDY
    else:
        tried, remedy = "cannot be read or written", REMEDIES.get(number or 0, "check the path")
    return (
        f"{place}: {tried} ({' '.join(said.split())}); {remedy}; then run the same command again: "
        "what was finished is kept"
    )
