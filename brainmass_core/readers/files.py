"""Read files of users: only regular files, within limits, decompressed, as bytes or text."""

from __future__ import annotations

import codecs
import gzip
import logging
import os
import stat
import zlib
from pathlib import Path

from brainmass_core.readers.annex import points_into_annex, remedy_of_annex, remedy_of_lfs
from brainmass_core.readers.limits import TEXT, Limits

log = logging.getLogger(__name__)
CHUNK = 2**20
DAMAGED = (OSError, EOFError, zlib.error)  # raised by decompression
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
POINTER_BYTES = 4096  # larger than any pointer
POINTERS = {b"/annex/objects/": remedy_of_annex, b"version https://git-lfs": remedy_of_lfs}
DEFLATE_RATIO = 1032  # no stream of this format expands by more
# a longer mark comes before a shorter one that it begins with
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
FORMATS = {  # first bytes of files that are often mistaken for tables
    b"PK\x03\x04": "an Excel workbook or zip archive; export it as .tsv or .csv",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; export it as .tsv or .csv",
    b"PAR1": "a Parquet file; write it as .tsv or .csv",
    b"\x1f\x8b": "gzip-compressed; let its name end in .gz",
}


class FileError(ValueError):
    """A file that cannot be read as expected.

    The message gives the file, what was found, what was expected and the remedy.
    """


def check_regular(path: Path) -> int:
    """Size in bytes of a file that can be opened without blocking.

    Raises
    ------
    FileError
        If it is missing, a broken or circular link, a folder, a pipe, a device, not readable, or
        a pointer of git-annex or git-lfs to content that was not fetched.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise FileError(_not_there(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{path}: cannot be opened ({reason}); correct the path") from None
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise FileError(f"{path}: is {kind}, expected a regular file; correct the path")
    if not os.access(path, os.R_OK):
        raise FileError(f"{path}: no permission to read it; change its permissions")
    if found.st_size <= POINTER_BYTES:
        _refuse_pointer(path)
    return found.st_size


def _not_there(path: Path) -> str:
    if not path.is_symlink():
        return f"{path}: no such file; restore it, or correct the path"
    target = os.readlink(path)
    remedy = "repair the link, or copy the file"
    if points_into_annex(path):
        remedy = remedy_of_annex(path)
    return f"{path}: a link to {target}, which does not exist; {remedy}"


def _refuse_pointer(path: Path) -> None:
    """Refuse a pointer of git-annex or git-lfs to content that was not fetched."""
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); copy it again") from None
    for mark, remedy in POINTERS.items():
        if mark in start:
            raise FileError(
                f"{path}: contains a pointer to its content, not the content; {remedy(path)}"
            )


def read_bytes(path: Path, limits: Limits = TEXT) -> bytes:
    """The content of a file, decompressed if its name ends in ``.gz``.

    Raises
    ------
    FileError
        If it is not a regular file, is damaged, or is larger than the limits.
    """
    check_regular(path)
    zipped = path.name.endswith(".gz")
    parts: list[bytes] = []
    n_bytes = n_lines = 0
    try:
        with gzip.open(path, "rb") if zipped else open(path, "rb") as file:
            while part := file.read(CHUNK):
                n_bytes += len(part)
                n_lines += max(part.count(b"\n"), part.count(b"\r"))
                if n_bytes > limits.n_bytes or n_lines > limits.n_lines:
                    raise FileError(
                        f"{path}: contains more than {limits.said()}"
                        f"{' after decompression' if zipped else ''}, which no such file has; "
                        "check that it is the correct file, or remove parts that are not needed"
                    )
                parts.append(part)
    except DAMAGED as error:
        raise FileError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); the file is damaged or "
            "incomplete: copy it again"
        ) from None
    return b"".join(parts)


def check_capacity(path: Path, n_bytes: int) -> None:
    """Refuse a file whose header gives more data than it can contain, before memory is allocated.

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
            f"{path}: its header gives {n_bytes:,} bytes of data, but the file has {size:,}; "
            "it is damaged or incomplete: copy it again"
        )


def check_length(path: Path, expected: int, tolerance: int) -> None:
    """Refuse a file that contains more than its header gives; less is found when it is read.

    The last four bytes of a compressed file give its length. It is decompressed and counted only
    if they give another, because it may have been compressed in parts.

    Parameters
    ----------
    expected : int
        Bytes, header included.
    tolerance : int
        Additional bytes from which on a file is refused; a writer may have filled the last block.

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
            f"{path}: its header gives {expected:,} bytes, but it contains at least {found:,}; "
            "volumes were added, or the header is wrong: copy it again, or convert the image again"
        )


def check_whole(path: Path) -> None:
    """Compare a compressed file with the checksum at its end, which no other function reads.

    Raises
    ------
    FileError
        If it differs, or the file is cut off. A file that is not compressed has no checksum.
    """
    if not path.name.endswith((".gz", ".mgz")):
        return
    try:
        with gzip.open(path) as file:
            while file.read(CHUNK):
                pass
    except DAMAGED as error:
        raise FileError(
            f"{path}: truncated or damaged ({type(error).__name__}: {error}); copy or download the "
            "file again and compare its checksum"
        ) from None


def _length_of_gzip(path: Path, enough: int) -> int:
    """Bytes after decompression, counted up to `enough` or the first damage."""
    total = 0
    try:
        with gzip.open(path) as file:
            while total < enough and (block := file.read(CHUNK)):
                total += len(block)
    except DAMAGED:
        return total  # the damage is reported when the data are read
    return total


def decode(raw: bytes, path: Path) -> str:
    """Text of a file: UTF-8, UTF-16 or UTF-32 by its byte order mark, else UTF-8, else latin-1.

    Other bytes are read as Windows-1252, which is latin-1 with printable characters instead of
    some control characters; this is logged.

    Raises
    ------
    FileError
        If it is binary, or damaged.
    """
    for start, what in FORMATS.items():
        if raw.startswith(start):
            raise FileError(f"{path}: is {what}")
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            try:
                return _checked(raw[len(mark) :].decode(encoding), path)
            except UnicodeDecodeError as error:
                raise FileError(
                    f"{path}: is not the {encoding} of its byte order mark ({error}); save "
                    "it as UTF-8"
                ) from None
    try:
        return _checked(raw.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        if b"\0" in raw:
            raise FileError(_binary(path)) from None
        line = raw.count(b"\n", 0, error.start) + 1
        log.warning(
            "%s: line %d is not UTF-8; the file is read as latin-1 (Windows-1252). If names look "
            "wrong, save it as UTF-8",
            *(path, line),
        )
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _checked(text: str, path: Path) -> str:
    if "\0" in text:
        raise FileError(_binary(path))
    return text


def _binary(path: Path) -> str:
    return (
        f"{path}: contains NUL bytes, so it is binary, damaged, or "
        "UTF-16 without a byte order mark; "
        "save it as UTF-8 text"
    )


def read_lines(path: Path, limits: Limits = TEXT) -> list[str]:
    """Lines of a text file without their ends, which may be LF, CRLF or CR.

    Nothing else ends a line: a form feed or U+2028 inside a note is part of it.

    Raises
    ------
    FileError
        If it cannot be read as text, is empty, or is larger than the limits.
    """
    text = decode(read_bytes(path, limits), path)
    if not text.strip():
        raise FileError(f"{path}: is empty; copy it again, or remove it")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    longest = max(range(len(lines)), key=lambda i: len(lines[i]))
    if len(lines[longest]) > limits.n_line:
        raise FileError(
            f"{path}: line {longest + 1} has {len(lines[longest]):,} characters, expected at most "
            f"{limits.n_line:,}; check that it is the right file"
        )
    return lines
