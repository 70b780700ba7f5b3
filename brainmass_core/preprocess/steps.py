"""The steps of one scan: each is timed, its memory is measured, and what it found is kept.

A killed job goes on after the last step that a scan had finished. What is kept are arrays and
numbers in .npz files, never pickles.
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
        Where results of finished steps are kept; None keeps nothing.

    Attributes
    ----------
    seconds : dict
        Wall seconds of each step, in order; a step that was taken from disk counts what it took
        when it was made.
    peak_rss : dict
        Largest resident memory in MB while the step ran.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self.peak_rss: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Measure a step whose result is not kept."""
        start = time.perf_counter()
        try:
            with peak_memory() as peak:
                yield
        finally:
            self._add(name, time.perf_counter() - start, peak.mb)

    def kept(self, name: str, kind: type[T], make: Callable[[], T]) -> T:
        """Take a step's result from disk, or make it and keep it.

        Parameters
        ----------
        name : str
            Of the step.
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
        """Remove what was kept: the scan is finished."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _add(self, name: str, seconds: float, peak: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.peak_rss[name] = max(self.peak_rss.get(name, 0.0), peak)


def flatten(value: Any, name: str = "value") -> dict[str, Any]:
    """A nested dataclass as arrays and numbers under dotted names; None is left out."""
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
    """The inverse of `flatten`, for a value of this type.

    Raises
    ------
    KeyError
        If something is missing.
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
