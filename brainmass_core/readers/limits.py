"""Largest sizes of files that users give, for all readers.

A gzipped file of 122 kB can contain 31 million lines. Larger files are refused while they are
read, before memory for all of their content is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from reprlib import Repr


@dataclass(frozen=True)
class Limits:
    """The largest text that is read.

    Attributes
    ----------
    n_bytes : int
        After decompression.
    n_lines : int
    n_line : int
        Characters of one line.
    """

    n_bytes: int = 256 * 2**20
    n_lines: int = 1_000_000
    n_line: int = 16 * 2**20

    def said(self) -> str:
        """For messages."""
        size = f"{self.n_bytes >> 20} MiB" if self.n_bytes >> 20 else f"{self.n_bytes:,} bytes"
        return f"{size} or {self.n_lines:,} lines"


TEXT = Limits()  # phenotypes, confounds, series as text
SMALL = Limits(n_bytes=16 * 2**20, n_lines=100_000, n_line=2**20)  # look-up tables, lists
JSON = Limits(n_bytes=64 * 2**20, n_lines=64 * 2**20)  # the largest sidecars, of MEG or PET


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


def quoted(value: object) -> str:
    """A value of a file for a message: its repr, shortened, as it may be as long as the file."""
    return _SHORT.repr(value)
