"""One small input for each cause of findings so far, with its required outcome.

Each is a change of a valid file, given by the few bytes that matter, so that it stays the same when
the changes of `run.py` are modified.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from fuzz_judge import Input, Reader
from fuzz_readers import READERS
from fuzz_series import npz


class Case(NamedTuple):
    """An input that was a finding.

    Attributes
    ----------
    reader, target : str
        Name of the reader, and end of the name of the file that is changed.
    cause : str
    change : callable
        The sound file's bytes to those of the input.
    sealed : bool
        Whether checksums are recomputed.
    outcome : str
        ``refused`` or ``read``.
    """

    reader: str
    target: str
    cause: str
    change: Callable[[bytes], bytes]
    sealed: bool = False
    outcome: str = "refused"


def case_input(case: Case) -> tuple[Reader, Input]:
    """The reader and the input of a case, for the first valid folder that contains its file."""
    reader = READERS[case.reader]
    number, name = next(
        (i, name)
        for i, seed in enumerate(reader.seeds)
        for name in seed.targets
        if name.endswith(case.target)
    )
    content = case.change(reader.seeds[number].files[name])
    return reader, Input(number, name, content, case.sealed, False)


def put(offset: int, form: str, *values: Any) -> Callable[[bytes], bytes]:
    """Write numbers over the bytes of a header."""

    def changed(raw: bytes) -> bytes:
        content = struct.pack(f"<{form}", *values)
        return raw[:offset] + content + raw[offset + len(content) :]

    return changed


def qform(offset: int, value: float) -> Callable[[bytes], bytes]:
    """A number of the orientation in scanner coordinates, with a code that declares it valid."""
    return lambda raw: put(252, "h", 1)(put(offset, "f", value)(raw))


def swap(old: str, new: str) -> Callable[[bytes], bytes]:
    """Replace one text with another, once."""

    def changed(raw: bytes) -> bytes:
        assert old.encode() in raw, f"{old!r} is not there"
        return raw.replace(old.encode(), new.encode(), 1)

    return changed


def swap_all(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Replace bytes with others, wherever they occur."""
    return lambda raw: raw.replace(old, new)


def entry(**values: Any) -> Callable[[bytes], bytes]:
    """Change entries of a JSON object; None removes one."""

    def changed(raw: bytes) -> bytes:
        kept = {k: v for k, v in json.loads(raw).items() if k not in values}
        return json.dumps(kept | {k: v for k, v in values.items() if v is not None}).encode()

    return changed


def npy(header: str) -> Callable[[bytes], bytes]:
    """An array file with this header."""
    text = header.encode().ljust(117) + b"\n"
    return lambda raw: b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + raw[128:]


def other_checksum(raw: bytes) -> bytes:
    """A gzipped image with a wrong checksum and additional bytes after its voxels."""
    content = gzip.compress(gzip.decompress(raw) + bytes(2**16), mtime=0)
    return content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]


def other_type(code: int, bits: int) -> Callable[[bytes], bytes]:
    """An image of few voxels of another NIfTI type."""
    return lambda raw: put(70, "hh", code, bits)(put(42, "hhh", 3, 2, 384 // bits // 6)(raw))


def renamed(name: str) -> Callable[[bytes], bytes]:
    """The first array of an archive under another name."""

    def changed(raw: bytes) -> bytes:
        with np.load(io.BytesIO(raw)) as file:
            first, *others = file.files
            return npz(**{n: file[n] for n in others} | {name: file[first]})

    return changed


def as_folder(raw: bytes) -> bytes:
    """A checkpoint with a part that is marked as a folder."""
    at = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"/data/1")) + 38
    return raw[:at] + b"\x10" + raw[at + 1 :]


def unknown_field(raw: bytes) -> bytes:
    """A kept entry as another version might write it."""
    record = json.loads(raw)
    record["entry"]["x"] = 1
    return json.dumps(record).encode()


def switch(value: Any) -> Callable[[bytes], bytes]:
    """Another value for a Boolean setting."""

    def changed(raw: bytes) -> bytes:
        content = json.loads(raw)
        content["timeseries"] = {"global_signal": value}
        return json.dumps(content).encode()

    return changed


def words_among_marks(raw: bytes) -> bytes:
    """Confounds with marks of volumes that are not numbers."""
    return b"csf\tnon_steady_state_outlier00\n" + b"0.5\t--1\n0.25\t--1\n"


def infinite(raw: bytes) -> bytes:
    """Regressors of C-PAC with numbers larger than any float."""
    *lines, last = raw.splitlines()
    cells = last.split(b"\t")
    return b"\n".join([*lines, b"\t".join([b"1e400", *cells[1:-1], b"9" * 400])]) + b"\n"


BINARY = b"datasets: {a: {kind: bids, role: internal, path: ., task: !!binary aGk=}}"
DEEP = '{"a":' * 20_000
ONE_ROW = "{'descr': '<f8', 'fortran_order': True, 'shape': (True, 80), }"
FIELD = "0.132105"
ALIASES = "a0: &a0 x\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 8)
)
ALIASES += "results: *a7\n"
CASES = (
    Case("shards", "0.parquet", "KeyError of a lost t_r", swap_all(b"t_r", b"t_s")),
    Case("config", "config.yaml", "AttributeError of a date", lambda raw: b"x: !!timestamp 99"),
    Case("deployed", "contract.json", "uneven rows", entry(probe=[[1, 0], [1]]), sealed=True),
    Case(
        "deployed",
        "estimator.json",
        "a name of 100,000 characters came back in the message",
        lambda raw: raw.replace(b"model.steps", b"1" * 100_000),
        sealed=True,
    ),
    Case("series", "s.npy", "NumPy's parser: TokenError", npy("{'descr': ((((")),
    Case("series", "s.npy", "TypeError of a shape", npy(ONE_ROW)),
    Case("series", "s.1D", "a row of one quote was counted and not read", swap("\n-", '\n"\n-')),
    Case(
        "series", "s.1D", "a field of quotes was left out", swap(f"\t-{FIELD}", f'\t""\t-{FIELD}')
    ),
    Case(
        "confounds",
        "c.tsv",
        "OverflowError of a number of 400 digits",
        lambda raw: b"csf\n" + (b"9" * 400 + b"\n") * 2,
        outcome="read",
    ),
    Case("table", "people.csv", "IndexError of a table of delimiters", lambda raw: b",\n,,\n"),
    Case("confounds", "c.tsv", "words among motion parameters", lambda raw: b"rot_y\na;b\na;b\n"),
    Case("confounds", "c.tsv", "ValueError of words among marks", words_among_marks),
    Case("cpac", ".1D", "infinite is missing, unlike to the judge", infinite, outcome="read"),
    Case("lut", "lut.csv", "a row over two lines", swap(",-30,", ',"-30\n",')),
    Case("config", "config.json", "a number as true or false", switch(1.0)),
    Case("config", "config.json", "quoted text as true or false", switch("True")),
    Case("config", "config.json", "a number of 401 digits", swap('"1"', "1" + "0" * 400)),
    Case("config", "config.yaml", "binary data as text", lambda raw: BINARY),
    Case("config", "config.json", "a message of 1000 lines", swap('"1"', "[], " * 999 + "[]")),
    Case("lut", "lut.tsv", "OverflowError of an index above 2**63", swap("\n5\t", f"\n{2**70}\t")),
    Case("fc_matrix", ".json", "RecursionError", lambda raw: DEEP.encode()),
    Case("fc_matrix", ".json", "pydantic's ValidationError", entry(Denoise=0.5)),
    Case("atlas", "atlas.nii", "zero voxels", put(42, "h", 0)),
    Case("atlas", "atlas.nii", "HeaderDataError of the affine", put(296, "f", -math.inf)),
    Case("atlas", "atlas.nii", "the header was read as labels", put(108, "f", 0)),
    Case("atlas", "atlas.nii", "labels that int32 does not hold", put(112, "ff", 1e9, 0)),
    Case("t1w", "h.nii", "a part was read as the whole", put(46, "h", 9)),
    Case("t1w", "h.nii.gz", "the checksum was not compared", other_checksum),
    Case("fieldmap", "h.nii", "OverflowError of nibabel", put(108, "f", math.inf)),
    Case("fieldmap", "h.nii", "the imaginary part was left out", other_type(32, 64)),
    Case("fieldmap", "h.nii", "TypeError of RGB voxels", other_type(128, 24)),
    Case("mask", "m.nii", "two axes of one direction", put(280, "8f", *[0, 0, 0, 0] * 2)),
    Case("nifti", "a_bold.nii", "OrientationError", put(296, "f", 1e38)),
    Case("nifti", "a_bold.nii.gz", "the checksum was not compared", other_checksum),
    Case("nifti", "a_bold.nii", "a quaternion that turns nothing: ValueError", qform(256, 9.0)),
    Case("nifti", "a_bold.nii", "a quaternion of NaN: LinAlgError", qform(256, math.nan)),
    Case("bids", "bold.nii", "an infinite quaternion: ValueError", qform(260, math.inf)),
    Case("bids", "bold.nii", "a voxel of NaN mm: LinAlgError", qform(80, math.nan)),
    Case("derivatives", "bold.nii", "a quaternion of 1e38: ValueError", qform(264, 1e38)),
    Case("derivatives", "bold.nii", "a quaternion of NaN: LinAlgError", qform(264, math.nan)),
    Case("bids", "bold.nii", "OverflowError of nibabel", put(108, "f", math.inf)),
    Case("bids", "01_task-rest_bold.json", "true was a slice time", entry(SliceTiming=[True, 0.0])),
    Case("series_folder", "all.npz", "the refusal named no file", renamed("../a")),
    Case("transforms", "m.npy", "TokenError", npy("{'descr': ((((")),
    Case("transforms", "m.npy", "matrices of other numbers", lambda raw: raw[:128] + b"\xff" * 640),
    Case("transforms", "c.txt", "text behind # was left out", swap("\n", "#\n")),
    Case("config", "config.yaml", "RecursionError", lambda raw: b"x: " + b"[" * 1000),
    Case("config", "config.yaml", "memory: aliases of aliases", lambda raw: ALIASES.encode()),
    Case("config", "config.json", "no path became this folder", swap('"path": "a"', '"path": ""')),
    Case("config", "config.json", "a list became text", swap('"1"', '["1"]')),
    Case("config", "config.json", "true became 1.0", swap('"t_r": 2.0', '"t_r": true')),
    Case("config", "config.json", "NaN became text", swap('"1"', "NaN")),
    Case("checkpoint", ".pt", "torch read memory in place of a folder", as_folder),
    Case("shards", "0.parquet", "KeyError of a lost column", swap("bold", "bald")),
    Case("shards", "0.parquet", "UnicodeDecodeError", swap_all(b"bold", b"b\xffld")),
    Case("kept", "a.json", "the log named no file", lambda raw: b"{"),
    Case("kept", "a.json", "KeyError", entry(entry=None), sealed=True),
    Case("kept", "a.json", "TypeError of another version's field", unknown_field, sealed=True),
)
