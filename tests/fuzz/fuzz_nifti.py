"""Changes of NIfTI images that use the fields of their header."""

from __future__ import annotations

import struct
from random import Random

import numpy as np

# offset, format and usual values of fields of a NIfTI-1 header
NIFTI = {
    "sizeof_hdr": (0, "i", (348, 540, 0, -1, 1543569408)),
    "dim0": (40, "h", (0, 1, 2, 3, 4, 5, 7, 8, -1, 1024)),
    "datatype": (70, "h", (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1536, 2304, -4)),
    "bitpix": (72, "h", (0, 1, 8, 16, 32, 64, 128, -1)),
    "vox_offset": (108, "f", (0, 1, 352, 351.5, 368, 1e30, -352, float("nan"), float("inf"))),
    "slope": (112, "f", (0, 1, -1, 1e38, 1e-45, float("nan"), float("inf"), 0.1)),
    "inter": (116, "f", (0, 1, -1, 3e38, float("nan"), float("inf"))),
    "xyzt_units": (123, "B", (0, 1, 2, 3, 8, 10, 16, 18, 24, 26, 32, 63, 255)),
    "qform": (252, "h", (0, 1, 2, 4, 9, -1)),
    "sform": (254, "h", (0, 1, 2, 4, 9, -1)),
    "magic": (344, "4s", (b"n+1\0", b"ni1\0", b"n+2\0", b"\0\0\0\0", b"n+1 ")),
    "extension": (348, "B", (0, 1, 2, 255)),
    "intent": (68, "h", (0, 2, 1002, 1007, 3001, 3006, 9999, -1)),
    "dim_info": (39, "B", (0, 57, 255)),
}
FLOATS = (0, 1, -1, 1e-40, 1e38, float("nan"), float("inf"), -float("inf"), 2, 0.001, 2000)
SIDES = (0, 1, 2, 3, 4, 5, 7, 10, 100, 32767, -1, -32768)


def nifti(raw: bytes, rng: Random) -> bytes:
    """Change fields of the header, or the data after it."""
    found = bytearray(raw.ljust(352, b"\0"))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        kind = rng.randrange(6)
        if kind == 0:
            struct.pack_into("<h", found, 40 + 2 * rng.randrange(1, 8), rng.choice(SIDES))
        elif kind == 1:  # pixdim, or the numbers of the affine
            at = rng.choice([*range(76, 108, 4), *range(256, 328, 4)])
            struct.pack_into("<f", found, at, rng.choice(FLOATS))
        elif kind == 2 and len(found) > 360:
            at = rng.randrange(352, len(found) - 8)
            found[at : at + 8] = rng.choice(
                [bytes(8), b"\xff" * 8, struct.pack("<ff", 1e38, -1e38)]
            )
        elif kind == 3 and rng.random() < 0.3:
            found = bytearray(found[: rng.randrange(340, len(found))].ljust(352, b"\0"))
        else:
            at, form, values = NIFTI[rng.choice(sorted(NIFTI))]
            struct.pack_into(f"<{form}", found, at, rng.choice(values))
    return bytes(found)


def images(raw: bytes, rng: Random) -> bytes:
    """A change of an image or, rarely, an image of another data type."""
    if rng.random() < 0.9:
        return nifti(raw, rng)
    found = bytearray(nifti(raw, rng))
    order = np.frombuffer(bytes(found[40:56]), "<i2").byteswap().tobytes()
    found[40:56] = order  # the other byte order, in part
    return bytes(found)
