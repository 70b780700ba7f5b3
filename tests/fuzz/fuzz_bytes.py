"""Damage bytes of any format; every change is drawn from the given generator."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence
from random import Random

Change = Callable[[bytes, Random], bytes]
INTERESTING = (0, 1, -1, 127, 128, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**63 - 1)
LARGEST = 2**20  # bytes of an input


def flip(raw: bytes, rng: Random) -> bytes:
    """Flip one to eight bits."""
    found = bytearray(raw)
    for _ in range(rng.randint(1, 8)):
        if found:
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def cut(raw: bytes, rng: Random) -> bytes:
    """Remove the end, the beginning, or a part."""
    a, b = sorted((rng.randint(0, len(raw)), rng.randint(0, len(raw))))
    return rng.choice([raw[:a], raw[a:], raw[:a] + raw[b:]])


def insert(raw: bytes, rng: Random) -> bytes:
    """Insert random bytes."""
    at = rng.randint(0, len(raw))
    return raw[:at] + rng.randbytes(rng.choice([1, 2, 4, 8, 64])) + raw[at:]


def repeat(raw: bytes, rng: Random) -> bytes:
    """Repeat a part, next to itself or elsewhere."""
    part, at = _stretch(raw, rng), rng.randint(0, len(raw))
    return raw[:at] + part * rng.choice([1, 1, 2, 50]) + raw[at:]


def overwrite(raw: bytes, rng: Random) -> bytes:
    """Overwrite one part with another."""
    part, at = _stretch(raw, rng), rng.randint(0, len(raw))
    return raw[:at] + part + raw[at + len(part) :]


def fill(raw: bytes, rng: Random) -> bytes:
    """Set a part to one byte."""
    part, at = _stretch(raw, rng), rng.randint(0, len(raw))
    value = rng.choice([b"\0", b"\xff", b" ", bytes([rng.randrange(256)])])
    return raw[:at] + value * len(part) + raw[at + len(part) :]


def number(raw: bytes, rng: Random) -> bytes:
    """Write a number at the edge of its type."""
    size = rng.choice([1, 2, 4, 8])
    value = rng.choice(INTERESTING) % 2 ** (8 * size)
    at = rng.randint(0, max(len(raw) - size, 0))
    content = value.to_bytes(size, rng.choice(["little", "big"]))
    return raw[:at] + content + raw[at + size :]


def other(raw: bytes, rng: Random) -> bytes:
    """Entirely different content."""
    return rng.choice([b"", b"\0" * 100, rng.randbytes(200), b"PK\x03\x04", b"\x1f\x8b\x08" + raw])


def _stretch(raw: bytes, rng: Random) -> bytes:
    at = rng.randint(0, len(raw))
    return raw[at : at + rng.choice([1, 2, 4, 8, 16, 100, 1000])]


ANY: Sequence[Change] = (flip, flip, cut, insert, repeat, overwrite, fill, number)


def damaged(raw: bytes, rng: Random) -> bytes:
    """One to three changes, rarely another file."""
    if rng.random() < 0.02:
        return other(raw, rng)
    for _ in range(rng.randint(1, 3)):
        raw = rng.choice(ANY)(raw, rng)
    return raw[:LARGEST]


def inside_gzip(change: Change) -> Change:
    """Apply the change to the decompressed content of a gzipped file."""

    def changed(raw: bytes, rng: Random) -> bytes:
        try:
            content = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error):
            return change(raw, rng)
        if rng.random() < 0.02:  # content that expands a thousandfold
            content = content + rng.choice([b"\n", b"0", b"1 ", b"\t"]) * 2**23
        else:
            content = change(content, rng)
        return gzip.compress(content, 1, mtime=0)

    return changed
