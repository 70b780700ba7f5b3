"""The steps of one scan: each is timed, its memory is measured, and its result is stored.

A killed job resumes after the last finished step of a scan. Results are stored as arrays and
numbers in .npz files, never as pickles.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
import types
import typing
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast
from zipfile import BadZipFile

import numpy as np

from brainmass_core.pipeline.peak import peak_memory
from brainmass_core.tables import atomic_path

T = TypeVar("T")
UNREADABLE = (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error)


class Steps:
    """The steps of one scan.

    Parameters
    ----------
    folder : Path, optional
        Folder for results of finished steps; None stores nothing.

    Attributes
    ----------
    seconds : dict
        Wall seconds of each step, in order; for a step that was read from disk, the time of its
        computation.
    peak_rss : dict
        Peak resident memory in MB during the step.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self.peak_rss: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Measure a step whose result is not stored."""
        start = time.perf_counter()
        try:
            with peak_memory() as peak:
                yield
        finally:
            self._add(name, time.perf_counter() - start, peak.mb)

    def kept(self, name: str, kind: type[T], make: Callable[[], T]) -> T:
        """Read a step's result from disk, or compute and store it.

        Parameters
        ----------
        name : str
            Name of the step.
        kind : type
            Dataclass that `make` returns; its fields are arrays, numbers, text, None, dicts of
            these, or such dataclasses.
        make : callable

        Returns
        -------
        kind
        """
        file = None if self.folder is None else self.folder / f"{name}.npz"
        if file is not None and (found := _load(file, kind)) is not None:
            result, seconds, peak = found
            self._add(name, seconds, peak)
            return result
        with self.timed(name):
            result = make()
        if file is not None:
            measured = {"seconds": self.seconds[name], "peak_rss": self.peak_rss[name]}
            _save(file, flatten(result) | measured)
        return result

    def forget(self) -> None:
        """Remove stored results, because the scan is finished."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _add(self, name: str, seconds: float, peak: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.peak_rss[name] = max(self.peak_rss.get(name, 0.0), peak)


def flatten(value: Any, name: str = "value") -> dict[str, Any]:
    """Flatten a nested dataclass to arrays and numbers with dotted names, without None."""
    if value is None:
        return {}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    elif isinstance(value, dict):
        parts = value
    else:
        return {name: value}
    found: dict[str, Any] = {}
    for key, part in parts.items():
        found |= flatten(part, f"{name}.{key}")
    return found


def restore(kind: Any, arrays: dict[str, np.ndarray], name: str = "value") -> Any:
    """Inverse of `flatten` for a value of this type.

    Parameters
    ----------
    arrays : dict of ndarray
        Arrays of any shape; keys are `name` and, after dots, names of fields.

    Raises
    ------
    KeyError
        If an entry is missing.
    """
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if not any(k == name or k.startswith(f"{name}.") for k in arrays):
            return None
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = [f.name for f in dataclasses.fields(kind)]
        made = {f: restore(hints[f], arrays, f"{name}.{f}") for f in fields}
        return cast(Any, kind)(**made)
    if typing.get_origin(kind) is dict:
        start = f"{name}."
        keys = {k[len(start) :] for k in arrays if k.startswith(start)}
        return {k: restore(typing.get_args(kind)[1], arrays, start + k) for k in sorted(keys)}
    value = arrays[name]
    return value if kind is np.ndarray else kind(value.item())


def _save(file: Path, arrays: dict[str, Any]) -> None:
    with atomic_path(file) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **arrays)


def _load(file: Path, kind: type[T]) -> tuple[T, float, float] | None:
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as data:
            arrays = dict(data)
        seconds, peak = float(arrays.pop("seconds")), float(arrays.pop("peak_rss"))
        return restore(kind, arrays), seconds, peak
    except UNREADABLE:
        return None
