"""Whether a path is a file that can be read to its end, and no more of it than memory holds."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
POINTER_BYTES = 4096  # larger than any pointer
POINTERS = {b"/annex/objects/": "`datalad get`", b"version https://git-lfs": "`git lfs pull`"}
GZIP = b"\x1f\x8b"
DEFLATE_RATIO = 1032  # no stream of this format expands by more


class FileError(ValueError):
    """A path that is no readable file; the message names it and says what to do."""


def check_regular(path: Path) -> int:
    """Size in bytes of a file that may be opened without waiting for ever.

    Raises
    ------
    FileError
        If it is missing, a broken or circular link, a folder, a pipe, a device, or not readable.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        remedy = "fetch it, with DataLad: `datalad get`" if path.is_symlink() else "restore it"
        raise FileError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{path}: cannot be opened ({reason}); correct the path") from None
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise FileError(f"{path}: found {kind}, expected a file; correct the path")
    if not os.access(path, os.R_OK):
        raise FileError(f"{path}: may not be read; mend its permissions")
    if found.st_size <= POINTER_BYTES:
        _refuse_pointer(path)
    return found.st_size


def _refuse_pointer(path: Path) -> None:
    """Refuse what git-annex or git-lfs leave in place of a file that was not fetched."""
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); copy it again") from None
    for mark, remedy in POINTERS.items():
        if mark in start:
            raise FileError(
                f"{path}: holds a pointer to its content, not the content; run {remedy}"
            )


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file, decompressed if its name ends in ``.gz``.

    Parameters
    ----------
    limit : int
        Bytes that it may hold, after decompression.

    Raises
    ------
    FileError
        If it is no regular file, is damaged, or holds more.
    """
    check_regular(path)
    try:
        with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as file:
            content = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); "
            "the file is damaged or incomplete: copy it again"
        ) from None
    if len(content) > limit:
        raise FileError(f"{path}: holds more than the {limit:,} bytes that are read of such a file")
    return content


def check_capacity(path: Path, n_bytes: int) -> None:
    """Refuse a file whose header claims more data than it can hold, before memory is asked for.

    Raises
    ------
    FileError
        If so.
    """
    size = check_regular(path)
    room = size
    if path.name.endswith(".gz"):
        room = size * DEFLATE_RATIO
    if n_bytes > room:
        raise FileError(
            f"{path}: its header claims {n_bytes:,} bytes of data, but the file has {size:,}; "
            "it is damaged or incomplete: copy it again"
        )


def check_length(path: Path, expected: int, tolerance: int) -> None:
    """Refuse a file that holds more than its header says; one with less is found when it is read.

    Of a compressed file its last four bytes say the length; only where they say another is it
    decompressed to count, because it may have been compressed in parts.

    Parameters
    ----------
    expected : int
        Bytes, header included.
    tolerance : int
        Bytes from which on more is too much; a writer may have filled up a block.

    Raises
    ------
    FileError
        If so.
    """
    found = check_regular(path)
    if path.name.endswith(".gz"):
        with open(path, "rb") as file:
            file.seek(max(found - 4, 0))
            said = int.from_bytes(file.read(4), "little")
        if said == expected % 2**32:
            return
        found = _length_of_gzip(path, expected + tolerance)
    if found >= expected + max(tolerance, 1):
        raise FileError(
            f"{path}: its header says {expected:,} bytes, but it holds at least {found:,}; "
            "volumes were added, or the header is wrong: copy it again, or convert the image again"
        )


def check_whole(path: Path) -> None:
    """Compare a compressed file with the checksum at its end, which is read by nobody else.

    Raises
    ------
    FileError
        If it differs, or the file is cut off. A file that is not compressed has no checksum.
    """
    if not path.name.endswith((".gz", ".mgz")):
        return
    try:
        with gzip.open(path) as file:
            while file.read(2**20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(
            f"{path}: truncated or damaged ({type(error).__name__}: {error}); copy or download the "
            "file again and compare its checksum"
        ) from None


def _length_of_gzip(path: Path, enough: int) -> int:
    """Bytes after decompression, counted no further than `enough` or the first damage."""
    total = 0
    try:
        with gzip.open(path) as file:
            while total < enough and (block := file.read(2**20)):
                total += len(block)
    except (OSError, EOFError, zlib.error):
        return total  # the damage is reported when the data are read
    return total
