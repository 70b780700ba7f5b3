"""Check tensors from files against the configuration before memory is allocated."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from brainmass_core.readers.files import FileError, check_regular

FOLDER = 0x10  # the MS-DOS attribute bit in the central directory of a zip file
FLOATS = {"F64", "F32", "F16", "BF16"}
PREFIXES = ("module.", "_orig_mod.")  # of data-parallel training and of torch.compile
ESCAPES = re.compile(r"\x1b\[\d*m")  # with which torch makes text bold
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.bool: "BOOL",
    torch.complex64: "C64",
}


class ModelError(ValueError):
    """A folder or file does not contain a valid model."""


class Stored(NamedTuple):
    """Shape and dtype of a tensor in a file; `dtype` as named by safetensors."""

    shape: tuple[int, ...]
    dtype: str


def stored_tensors(path: Path) -> dict[str, Stored]:
    """Shapes and dtypes of the tensors of a safetensors file, from its header only.

    Raises
    ------
    ModelError
        If it is not a regular file or not a complete safetensors file.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {n: Stored(tuple(p.get_shape()), p.get_dtype()) for n, p in parts.items()}
    except FileError as error:
        raise ModelError(str(error)) from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: not a complete safetensors file ({error}); copy it again or make it again"
        ) from None


def of_tensors(tensors: Mapping[str, Any]) -> dict[str, Stored]:
    """Shapes and dtypes of tensors or arrays in memory."""
    found = {}
    for name, tensor in tensors.items():
        dtype = DTYPES.get(tensor.dtype, str(tensor.dtype)) if isinstance(tensor, Tensor) else None
        found[name] = Stored(tuple(tensor.shape), dtype or _of_numpy(tensor.dtype))
    return found


def _of_numpy(dtype: Any) -> str:
    letters = {"f": "F", "i": "I", "u": "U", "c": "C"}
    return f"{letters.get(dtype.kind, dtype.kind)}{8 * dtype.itemsize}"


def check_number(where: str, name: str, value: Any, most: int) -> None:
    """Refuse a size that is not an integer, or larger than any tensor allows.

    Raises
    ------
    ModelError
        Naming the field.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ModelError(
            f"{where}: {name}: found {_short(value)}, expected an integer from 1 to {most}, the "
            "limit from the tensors"
        )


def check_sizes(where: str, sizes: Mapping[str, Any], found: Mapping[str, Stored]) -> None:
    """Refuse sizes that tensors of these shapes cannot have.

    A depth is at most the number of tensors; all other sizes are at most the longest side of a
    tensor.

    Raises
    ------
    ModelError
        Naming the field.
    """
    longest = max((side for t in found.values() for side in t.shape), default=1)
    for name, value in sizes.items():
        check_number(where, name, value, len(found) if "depth" in name else max(longest, 1))


def skeleton(where: str, build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model on the meta device: its tensors have shapes but take no memory.

    Raises
    ------
    ModelError
        If the settings are inconsistent.
    """
    try:
        with torch.device("meta"):
            return build()
    except (ValueError, TypeError, KeyError, RuntimeError, AssertionError) as error:
        raise ModelError(f"{where}: {_short(error)}") from None


def check_tensors(where: str, found: Mapping[str, Stored], expected: Mapping[str, Stored]) -> None:
    """Compare names, shapes and types; any floating type is accepted.

    Raises
    ------
    ModelError
        Naming the tensors.
    """
    missing, more = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    wrong = []
    for what, names in (("missing", missing), ("unknown", more)):
        if names:
            wrong.append(f"{len(names)} tensors are {what}, such as {', '.join(names[:3])}")
    for name in sorted(set(expected) & set(found)):
        have, want = found[name], expected[name]
        if have.shape != want.shape:
            wrong.append(f"{name} has the shape {have.shape}, expected {want.shape}")
        elif have.dtype != want.dtype and not {have.dtype, want.dtype} <= FLOATS:
            wrong.append(f"{name} holds {have.dtype}, expected {want.dtype}")
    if wrong:
        raise ModelError(f"{where}: {'; '.join(wrong[:5])}")


def check_finite(where: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not numbers, or none in float32, in which models compute.

    Parameters
    ----------
    where : str
        Name of the file, for the message.
    tensors : mapping of str to Tensor
        Of any shape.

    Raises
    ------
    ModelError
        Naming the tensor.
    """
    for name, tensor in tensors.items():
        finite = torch.isfinite(tensor.float()) if tensor.is_floating_point() else None
        if finite is not None and not bool(finite.all()):
            n = int((~finite).sum())
            raise ModelError(
                f"{where}: {name}: {n} of {tensor.numel()} weights are infinite or not a number"
                + (" in float32" if tensor.dtype == torch.float64 else "")
            )


def check_counts(where: str, tensors: Mapping[str, Tensor]) -> None:
    """Refuse variances and counts of batch normalisation that are negative.

    Parameters
    ----------
    where : str
        Name of the file, for the message.
    tensors : mapping of str to Tensor
        Of any shape.

    Raises
    ------
    ModelError
        Naming the tensor.
    """
    for name, tensor in tensors.items():
        if name.endswith(("running_var", "num_batches_tracked")) and bool((tensor < 0).any()):
            raise ModelError(f"{where}: {name}: found {float(tensor.min()):g}, expected 0 or more")


def only_tensors(where: str, tensors: Mapping[Any, Any], remedy: str) -> None:
    """Refuse a checkpoint that contains anything other than tensors.

    Raises
    ------
    ModelError
        Naming the other entries.
    """
    other = [f"{n} ({type(t).__name__})" for n, t in tensors.items() if not isinstance(t, Tensor)]
    if other:
        raise ModelError(f"{where}: found {', '.join(other[:5])}, expected tensors; {remedy}")


def refuse_other_names(missing: set[str], unknown: set[str], remedy: str) -> None:
    """Refuse a checkpoint without some tensors, or with unknown ones.

    Raises
    ------
    ModelError
        Naming them.
    """
    parts = [
        f"{what} {len(names)} tensors, such as {', '.join(sorted(names)[:3])}"
        for what, names in (("without", missing), ("with unknown", unknown))
        if names
    ]
    if parts:
        raise ModelError(f"found a checkpoint {' and '.join(parts)}; {remedy}")


def plain_names(where: str, tensors: Mapping[Any, Any]) -> dict[str, Any]:
    """Tensors under their names without `PREFIXES`.

    Raises
    ------
    ModelError
        If a name is no text, or two names are one without their prefixes.
    """
    found: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise ModelError(f"{where}: found a tensor called {_short(name)}, expected names")
        short = name
        while prefix := next((p for p in PREFIXES if short.startswith(p)), None):
            short = short.removeprefix(prefix)
        if short in found:
            raise ModelError(
                f"{where}: holds {short} twice, with and without {' or '.join(PREFIXES)} before it"
            )
        found[short] = tensor
    return found


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> Any:
    """Read a file written by torch, without executing code in it.

    The file is a zip archive whose parts have checksums, which torch does not verify.

    Raises
    ------
    ModelError
        If it is damaged, or contains anything other than tensors and plain values.
    """
    try:
        check_regular(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                # a small file could hold more than any memory; torch never compresses
                if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                    raise ModelError(f"{path}: its parts are compressed; save it with torch.save")
                if bad := archive.testzip():
                    raise ModelError(f"{path}: {bad} does not match its checksum")
                # torch treats them as folders, and leaves their tensors uninitialised
                if any(part.external_attr & FOLDER for part in archive.infolist()):
                    raise ModelError(f"{path}: a part of it is marked as a folder; copy it again")
        return torch.load(path, map_location=device, weights_only=True)
    except FileError as error:
        raise ModelError(str(error)) from None
    except ModelError:
        raise
    except (
        Exception
    ) as error:  # the restricted unpickler raises many kinds of errors on other files
        raise ModelError(
            f"{path}: not a checkpoint that can be read safely ({_why_unsafe(path, error)})"
        ) from None


def _why_unsafe(path: Path, error: Exception) -> str:
    """In our words, because those of torch advise to read the file without protection."""
    if not path.stat().st_size:
        return "it is empty"
    if isinstance(error, pickle.UnpicklingError | KeyError | EOFError | UnicodeDecodeError):
        return "it holds other objects than tensors and plain values, or is no file of torch"
    return ESCAPES.sub("", _short(error))


def check_plain(where: str, tensors: Mapping[str, Any]) -> None:
    """Refuse what is no plain array of numbers that are all in the file.

    Raises
    ------
    ModelError
        Naming the tensor.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ModelError(f"{where}: {name}: found {type(tensor).__name__}, expected tensors")
        plain = tensor.layout == torch.strided and not tensor.is_nested
        if not plain or tensor.is_quantized or tensor.is_meta:
            raise ModelError(
                f"{where}: {name}: found a sparse, nested, empty or quantised tensor, expected none"
            )
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ModelError(
                f"{where}: {name}: its shape {tuple(tensor.shape)} has more values than the file "
                "contains"
            )


def check_dense(where: str, tensors: Mapping[str, Any], weights: Collection[str]) -> None:
    """Refuse tensors that are not plain arrays of finite real numbers.

    Parameters
    ----------
    weights : collection of str
        Names of tensors that must be floating-point; others, such as counters, may be integers.

    Raises
    ------
    ModelError
        Naming the tensor.
    """
    check_plain(where, tensors)
    for name, tensor in tensors.items():
        usual = DTYPES.get(tensor.dtype) in FLOATS
        if tensor.is_complex() or (name in weights and not usual):
            raise ModelError(
                f"{where}: {name} holds {tensor.dtype}, expected floating-point numbers"
            )
        is_count = name.endswith("num_batches_tracked")
        if is_count and (tensor.is_floating_point() or tensor.dtype == torch.bool):
            raise ModelError(f"{where}: {name} holds {tensor.dtype}, expected integers")
    check_counts(where, tensors)
    check_finite(where, {n: t for n, t in tensors.items() if n in weights})


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, Exception) else repr(value)
    return " ".join(text.split())[:200]
