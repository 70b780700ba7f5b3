"""Changes of arrays, Parquet tables, safetensors and checkpoints that use their formats."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import struct
import zipfile
import zlib
from random import Random
from typing import Any

import fuzz_text
from fuzz_bytes import Change, damaged

EVIL = "code_was_run"  # file that the code in a pickle would write


class Runs:
    """An object that a pickle must not be able to create: it writes a file."""

    def __reduce__(self) -> tuple:
        return (open, (EVIL, "w"))


class Imports:
    """The same by `exec`."""

    def __reduce__(self) -> tuple:
        return (exec, (f"open({EVIL!r}, 'w')",))


def evil_pickle(rng: Random) -> bytes:
    """A pickle of any protocol that runs code."""
    content: Any = rng.choice([Runs(), Imports()])
    if rng.random() < 0.5:
        content = {"model": content, "state_dict": {"a": content}}
    return pickle.dumps(content, protocol=rng.randrange(6))


HEADERS = (
    "{{'descr': '{d}', 'fortran_order': {f}, 'shape': {s}, }}",
    "{{'descr': {d!r}, 'fortran_order': {f}, 'shape': {s}}}",
    "{{'descr': [('a', '{d}'), ('b', '{d}')], 'fortran_order': {f}, 'shape': {s}}}",
    "{{'shape': {s}, 'descr': '{d}'}}",
    "{{'descr': '{d}', 'fortran_order': {f}, 'shape': {s}, 'x': 1}}",
    "__import__('os').system('touch " + EVIL + "')",
    "[" * 5000,
)
DTYPES = (
    "<f8",
    ">f8",
    "<f4",
    "<f2",
    "|O",
    "|b1",
    "<c16",
    "<i8",
    "|V8",
    "<U4",
    "|S0",
    "<M8[s]",
    "?",
    "x",
)
SHAPES: tuple[str, ...] = (
    "(20, 4)",
    "(4, 20)",
    "(80,)",
    "()",
    "(-20, -4)",
    "(0, 4)",
    "(2**40, 4)",
    "(20, 4.0)",
    "[20, 4]",
)
SHAPES += ("(True, 80)", "(99999999999, 99999999999)", "(1, 20, 4)", "(20, 3)", "None", "('a', 1)")


def npy(raw: bytes, rng: Random) -> bytes:
    """Another header for the same numbers, another version, or a pickle."""
    if rng.random() < 0.08:
        return evil_pickle(rng)
    if len(raw) < 12 or raw[:6] != b"\x93NUMPY":
        return damaged(raw, rng)
    start = 10 + int.from_bytes(raw[8:10], "little")
    text = rng.choice(HEADERS).format(
        d=rng.choice(DTYPES[:4] if rng.random() < 0.5 else DTYPES),
        f=rng.choice(["True", "False", "1", "None"]),
        s=rng.choice(SHAPES),
    )
    if "**" in text:
        text = text.replace("2**40", str(2**40))
    version = rng.choice([(1, 0), (1, 0), (2, 0), (3, 0), (9, 9)])
    header = text.encode().ljust(118) + b"\n"
    size = struct.pack(
        "<H" if version == (1, 0) else "<I", rng.choice([len(header), len(header), 65535])
    )
    body = evil_pickle(rng) if "O" in text and rng.random() < 0.7 else raw[start:]
    return b"\x93NUMPY" + bytes(version) + size + header + body


def members(change: Change, names: tuple[str, ...] = ("a.npy", "../a.npy", "", "b.txt")) -> Change:
    """Change members of a zip archive, with matching checksums."""

    def changed(raw: bytes, rng: Random) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                parts = [(n, archive.read(n)) for n in archive.namelist()]
        except (
            zipfile.BadZipFile,
            OSError,
            ValueError,
            zlib.error,
            NotImplementedError,
            RuntimeError,
        ):
            return damaged(raw, rng)
        for _ in range(rng.randint(1, 2)):
            _change_member(parts, change, names, rng)
        out = io.BytesIO()
        method = rng.choice([zipfile.ZIP_STORED] * 3 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, content in parts:
                archive.writestr(zipfile.ZipInfo(name), content, method)
        return out.getvalue()

    return changed


def _change_member(parts: list, change: Change, names: tuple[str, ...], rng: Random) -> None:
    if not parts:
        return
    at = rng.randrange(len(parts))
    name, content = parts[at]
    kind = rng.randrange(10)
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts.append((rng.choice([name, *names]), content))
    elif kind == 2:
        parts[at] = (rng.choice([*names, name.upper(), name + "x"]), content)
    else:
        parts[at] = (name, change(content, rng))


def pickled(raw: bytes, rng: Random) -> bytes:
    """Change operations of a pickle, or make it run code."""
    kind = rng.randrange(6)
    if kind == 0:
        return evil_pickle(rng)
    if kind == 1:
        return damaged(raw, rng)
    try:
        places = [(op, arg, at or 0) for op, arg, at in pickletools.genops(raw)]
    except Exception:  # no pickle
        return damaged(raw, rng)
    if kind == 2:  # a function that is called where a tensor was rebuilt
        for old in (b"torch._utils\n_rebuild_tensor_v2", b"collections\nOrderedDict"):
            if old in raw:
                new = rng.choice([b"os\nsystem", b"builtins\nexec", b"torch\nload", b"nowhere\nx"])
                return raw.replace(old, new, rng.choice([1, -1]))
    _, _, at = rng.choice(places)
    if kind == 3:
        return raw[:at] + bytes([rng.choice(b"0NK(.}]q\x85R\x81cbsuQi")]) + raw[at + 1 :]
    if kind == 4:
        _, _, end = rng.choice(places)
        return raw[: min(at, end)] + raw[max(at, end) :]
    ints = [p for p in places if isinstance(p[1], int) and p[0].name.startswith("BININT")]
    if not ints:
        return damaged(raw, rng)
    op, _, at = rng.choice(ints)
    size = {"BININT1": 1, "BININT2": 2, "BININT": 4}[op.name]
    value = rng.choice([0, 1, 2, 5, 255, 2**31 - 1, 2**16 - 1, 1000]) % 2 ** (8 * size)
    return raw[: at + 1] + value.to_bytes(size, "little") + raw[at + 1 + size :]


def torch_file(raw: bytes, rng: Random) -> bytes:
    """Members of a checkpoint: its pickle, or the numbers of its tensors."""

    def change(content: bytes, rng: Random) -> bytes:
        return pickled(content, rng) if content[:1] == b"\x80" else damaged(content, rng)

    if rng.random() < 0.05:
        return evil_pickle(rng)
    return members(change, ("archive/data.pkl", "x/data/0", "version", "../" + EVIL))(raw, rng)


def safetensors(raw: bytes, rng: Random) -> bytes:
    """Change the header: its length, or a type, shape, offset or name in it."""
    if len(raw) < 8 or rng.random() < 0.1:
        return damaged(raw, rng)
    size = int.from_bytes(raw[:8], "little")
    text, body = raw[8 : 8 + size], raw[8 + size :]
    if rng.random() < 0.1:
        size = rng.choice([0, 1, size - 1, size + 1, 2**32, 2**63, 10**8])
        return size.to_bytes(8, "little") + text + body
    if rng.random() < 0.3:
        text = fuzz_text.json_value(text, rng)
        return len(text).to_bytes(8, "little") + text + body
    try:
        header = json.loads(text)
        name = rng.choice([n for n in header if n != "__metadata__"])
        _change_tensor(header, name, rng)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError):
        return damaged(raw, rng)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def _change_tensor(header: dict, name: str, rng: Random) -> None:
    about = header[name]
    kind = rng.randrange(5)
    if kind == 0:
        about["dtype"] = rng.choice(
            ["F64", "F32", "F16", "BF16", "I32", "I64", "BOOL", "F8_E4M3", "C64", "U8", "X"]
        )
    elif kind == 1:
        sides = about["shape"]
        about["shape"] = rng.choice(
            [sides[::-1], [*sides, 1], [0], [-1], [2**62, 4], [], sides[1:]]
        )
    elif kind == 2:
        start, end = about["data_offsets"]
        about["data_offsets"] = rng.choice(
            [[end, start], [0, end - start], [start, end + 8], [-8, 0], [2**63, 2**63]]
        )
    elif kind == 3:
        header[rng.choice([name + "x", "", name.upper()])] = header.pop(name)
    else:
        other = rng.choice(sorted(header))
        header[name], header[other] = header[other], header[name]


def parquet(raw: bytes, rng: Random) -> bytes:
    """Damage the footer, its length or the magic; pages are damaged by other changes."""
    if len(raw) < 12:
        return damaged(raw, rng)
    size = int.from_bytes(raw[-8:-4], "little")
    start = len(raw) - 8 - size
    if start < 0 or rng.random() < 0.1:
        return damaged(raw, rng)
    footer = raw[start:-8]
    kind = rng.randrange(8)
    if kind == 0:
        size = rng.choice([0, size - 1, size + 1, 2**31, len(raw), 2**32 - 1])
        return raw[:-8] + (size % 2**32).to_bytes(4, "little") + raw[-4:]
    if kind == 1:
        return raw[:-4] + rng.choice([b"PARE", b"PAR2", bytes(4)])
    if kind in (2, 3):  # one part of the footer gets the value of another
        at, to, n = rng.randrange(size), rng.randrange(size), rng.choice([1, 2, 3, 4, 6, 8])
        footer = footer[:to] + footer[at : at + n] + footer[to + n :]
    elif kind == 4:  # a number of the compact protocol, a little larger or smaller
        at = rng.randrange(size)
        value = (footer[at] + rng.choice([2, -2, 4, -4, 1, -1, 64])) % 256
        footer = footer[:at] + bytes([value]) + footer[at + 1 :]
    else:
        footer = damaged(footer, rng)
    return raw[:start] + footer + len(footer).to_bytes(4, "little") + raw[-4:]
