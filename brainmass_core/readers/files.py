"""Open what a user points at: regular files only, decompressed, within limits, as text."""

from __future__ import annotations

import codecs
import gzip
import logging
import stat
import zlib
from pathlib import Path

from brainmass_core.readers.limits import TEXT, Limits

log = logging.getLogger(__name__)
CHUNK = 2**20
# a longer mark comes before a shorter one that it begins with
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
FORMATS = {  # first bytes of what is often taken for a table
    b"PK\x03\x04": "an Excel workbook or zip archive; export it as .tsv or .csv",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; export it as .tsv or .csv",
    b"PAR1": "a Parquet file; write it as .tsv or .csv",
    b"\x1f\x8b": "gzip-compressed; let its name end in .gz",
}
ANNEX = ("/annex/objects/", "version https://git-lfs")


class ReadError(ValueError):
    """A file of a user that cannot be read; the message names it, what was found and expected."""


def require_regular(path: Path) -> None:
    """Refuse what is not a regular file, before it is opened: a pipe would wait for ever.

    Raises
    ------
    ReadError
        Saying what it is; of a broken link, where it points and what to do.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ReadError(_not_there(path)) from None
    except OSError as error:
        raise ReadError(
            f"{path}: cannot be opened ({error.strerror or error}); check the path and its "
            "permissions"
        ) from None
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise ReadError(f"{path}: is {kind}, expected a regular file; correct the path")


def _not_there(path: Path) -> str:
    if not path.is_symlink():
        return f"{path}: no such file; correct the path"
    target = path.readlink()
    remedy = "run `datalad get` on it" if "annex" in str(target) else "mend the link"
    return f"{path}: a link to {target}, which does not exist; {remedy}, or copy the file"


def read_bytes(path: Path, limits: Limits = TEXT) -> bytes:
    """Content of a regular file, decompressed if its name ends in ``.gz``.

    Raises
    ------
    ReadError
        If it cannot be read, or is larger than the limits.
    """
    require_regular(path)
    zipped = path.name.endswith(".gz")
    parts: list[bytes] = []
    n_bytes = n_lines = 0
    try:
        with gzip.open(path, "rb") if zipped else open(path, "rb") as file:
            while part := file.read(CHUNK):
                n_bytes += len(part)
                n_lines += max(part.count(b"\n"), part.count(b"\r"))
                if n_bytes > limits.n_bytes or n_lines > limits.n_lines:
                    raise ReadError(
                        f"{path}: more than {limits.n_bytes >> 20} MiB or {limits.n_lines:,} lines"
                        f"{' after decompression' if zipped else ''}, which no such file has; "
                        "check that it is the right one, or leave out what is not needed"
                    )
                parts.append(part)
    except (OSError, EOFError, zlib.error) as error:
        raise ReadError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); the file is damaged or "
            "incomplete: copy it again"
        ) from None
    return b"".join(parts)


def decode(raw: bytes, path: Path) -> str:
    """Text of a file: UTF-8, UTF-16 or UTF-32 by its byte order mark, else UTF-8, else latin-1.

    What is not UTF-8 is read as Windows-1252, which is latin-1 with printable characters where
    that has none, and said so in the log.

    Raises
    ------
    ReadError
        If it is binary, or damaged.
    """
    for start, what in FORMATS.items():
        if raw.startswith(start):
            raise ReadError(f"{path}: is {what}")
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            try:
                return _checked(raw[len(mark) :].decode(encoding), path)
            except UnicodeDecodeError as error:
                raise ReadError(
                    f"{path}: is not the {encoding} that its byte order mark says ({error}); save "
                    "it as UTF-8"
                ) from None
    try:
        return _checked(raw.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        if b"\0" in raw:
            raise ReadError(_binary(path)) from None
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
        raise ReadError(_binary(path))
    if text.startswith(ANNEX):
        raise ReadError(
            f"{path}: holds a pointer of git-annex or git-lfs in place of its content; run "
            "`datalad get` or `git lfs pull`"
        )
    return text


def _binary(path: Path) -> str:
    return (
        f"{path}: holds NUL bytes, so it is binary, damaged, or UTF-16 without a byte order mark; "
        "save it as UTF-8 text"
    )


def read_lines(path: Path, limits: Limits = TEXT) -> list[str]:
    """Lines of a text file without their ends, which may be LF, CRLF or CR.

    Nothing else ends a line: a form feed or U+2028 inside a note is part of it.

    Raises
    ------
    ReadError
        If it cannot be read as text, is empty, or is larger than the limits.
    """
    text = decode(read_bytes(path, limits), path)
    if not text.strip():
        raise ReadError(f"{path}: is empty; copy it again, or remove it")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    longest = max(range(len(lines)), key=lambda i: len(lines[i]))
    if len(lines[longest]) > limits.n_line:
        raise ReadError(
            f"{path}: line {longest + 1} has {len(lines[longest]):,} characters, expected at most "
            f"{limits.n_line:,}; check that it is the right file"
        )
    return lines
