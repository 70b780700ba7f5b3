"""What one scan's work is made from, as a hash: a kept scan counts while this is the same."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel

IF_ANY = {"if_any": True}  # metadata of a field that no fingerprint shows while it is empty


def fingerprint(item: Any) -> str:
    """Hash of what one scan's work is made from: its values, and the state of the files it names.

    Parameters
    ----------
    item : nested dict, list, tuple, dataclass, array, DataFrame, path, text or number
        For a path, or text that is an absolute path, the size and modification time of the file
        are included. Configurations are omitted, because `stage_hash` covers them.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    return hashlib.sha256(repr(_plain(item)).encode()).hexdigest()[:16]


def named_files(item: Any) -> dict[str, tuple]:
    """The state of each file that `fingerprint` looks at, by its path."""
    if isinstance(item, Path) or (isinstance(item, str) and os.path.isabs(item)):
        return {str(item): _file_state(str(item))}
    if isinstance(item, dict):
        parts = list(item.values())
    elif isinstance(item, list | tuple | set | frozenset):
        parts = list(item)
    elif dataclasses.is_dataclass(item) and not isinstance(item, type):
        parts = [getattr(item, f.name) for f in dataclasses.fields(item)]
    else:
        parts = []
    return {path: state for part in parts for path, state in named_files(part).items()}


def _plain(item: Any) -> Any:
    import numpy as np  # only here: checking a configuration does not need it

    if isinstance(item, BaseModel):
        return type(item).__name__
    if type(item).__name__ == "DataFrame":  # by name: pandas need not be imported
        return [(str(name), column.tolist()) for name, column in item.items()]
    if isinstance(item, dict):
        return sorted(((str(k), _plain(v)) for k, v in item.items()), key=lambda pair: pair[0])
    if isinstance(item, set | frozenset):
        return sorted(map(repr, map(_plain, item)))
    if isinstance(item, list | tuple):
        return [_plain(v) for v in item]
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        fields = [(f, getattr(item, f.name)) for f in dataclasses.fields(item)]
        return [(f.name, _plain(v)) for f, v in fields if not f.metadata.get("if_any") or v]
    if isinstance(item, np.ndarray):
        data = np.ascontiguousarray(item).tobytes()
        return str(item.dtype), item.shape, hashlib.sha256(data).hexdigest()
    if isinstance(item, Path) or (isinstance(item, str) and os.path.isabs(item)):
        return _file_state(str(item))
    if isinstance(item, str | bytes | int | float | np.generic | None):
        return repr(item)
    return type(item).__name__  # its repr may hold an address, which differs at every run


def _file_state(path: str) -> tuple:
    try:
        stat = os.stat(path)
    except OSError:
        return (path,)
    # a folder's time changes with whatever is put into it
    return (path,) if os.path.isdir(path) else (path, stat.st_size, stat.st_mtime_ns)
