"""Bridges: transforms of points between template spaces, shipped or from TemplateFlow.

Three spaces are bridged by displacement fields that this package ships; `benchmarks/bridges.py`
makes and measures them. For other pairs TemplateFlow's transforms are used if they are on this
machine; nothing is downloaded. The shipped ones are preferred, so that a result does not depend on
the content of a cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from brainmass_core.spaces.names import SpaceError, space_name
from brainmass_core.spaces.shipped import DATA, about_shipped, field_name, legs, shipped_spaces
from brainmass_core.spaces.templateflow import homes, itk_transform, transform_file
from brainmass_core.spaces.warps import from_file

Points = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Bridge:
    """Map from points of `source` to points of `target`.

    Attributes
    ----------
    source, target : str
        TemplateFlow names.
    origin : str
        ``identity``, ``brainmass`` or the file of TemplateFlow.
    """

    source: str
    target: str
    origin: str
    _map: Points

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Transform points (n, 3) of the source to points (n, 3) of the target, mm, RAS.

        Within one space they are returned unchanged.
        """
        return self._map(points)

    @property
    def file(self) -> Path | None:
        """The TemplateFlow file of the map, if it is not shipped."""
        return None if self.origin in ("identity", "brainmass") else Path(self.origin)


def bridge(source: str, target: str) -> Bridge:
    """The bridge between two spaces.

    Parameters
    ----------
    source, target : str
        Names as accepted by `space_name`.

    Raises
    ------
    SpaceError
        If a name is ambiguous, or there is no bridge.
    """
    return _bridge(space_name(source), space_name(target), tuple(homes()))


@lru_cache(maxsize=16)
def _bridge(source: str, target: str, places: tuple[Path, ...]) -> Bridge:
    if source == target:
        return Bridge(source, target, "identity", _unchanged)
    shipped = _shipped(source, target)
    if shipped is not None:
        return Bridge(source, target, "brainmass", shipped)
    file = transform_file(source, target, places)
    if file is None:
        raise SpaceError(_refusal(source, target))
    return Bridge(source, target, str(file), itk_transform(file))


def _unchanged(points: np.ndarray) -> np.ndarray:
    return points


def _shipped(source: str, target: str) -> Points | None:
    """The shipped map, direct or composed via the hub; None if there is none."""
    about = about_shipped()
    if not {source, target} <= set(about["spaces"]):
        return None
    warps = [_leg(about, *leg) for leg in legs(source, target)]

    def through(points: np.ndarray) -> np.ndarray:
        for warp in warps:
            points = warp(points)
        return points

    return through


def _leg(about: dict[str, Any], source: str, target: str) -> Points:
    name = field_name(source, target)
    found = hashlib.sha256((DATA / name).read_bytes()).hexdigest()
    expected = about["fields"][name]["sha256"]
    if found != expected:
        raise SpaceError(
            f"{DATA / name}: found sha256 {found}, expected {expected}; the file of the package is "
            "damaged: install brainmass again"
        )
    return from_file(DATA / name)


def _refusal(source: str, target: str) -> str:
    shipped = ", ".join(shipped_spaces())
    places = ", ".join(str(p) for p in homes())
    return (
        f"there is no bridge from {source} to {target}, and spaces are never treated as equal. "
        f"Use data, template and atlas of one space or of bridged spaces ({shipped}); or put "
        f"TemplateFlow's tpl-{source}_from-{target}_mode-image_xfm.h5 into the folder "
        f"tpl-{source} of TEMPLATEFLOW_HOME (looked for in {places})"
    )
