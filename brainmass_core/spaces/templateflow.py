"""TemplateFlow files on this machine: templates, and transforms between them.

ITK's transforms map points, in LPS, from the output grid to the input image: TemplateFlow's
``tpl-X_from-Y_mode-image_xfm`` resamples images of Y to X and maps points of X to points of Y. The
DAG only lists the files, so NumPy is loaded only when one is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

HOME = "TEMPLATEFLOW_HOME"
LPS = (-1.0, -1.0, 1.0)


def homes() -> list[Path]:
    """Folders of TemplateFlow: from the environment variable, or its default."""
    named = os.environ.get(HOME)
    return [Path(named) if named else Path.home() / ".cache" / "templateflow"]


def transform_file(source: str, target: str, places: Iterable[Path]) -> Path | None:
    """The file that maps points of `source` to points of `target`; None if it does not exist."""
    return _first(source, f"tpl-{source}_from-{target}_mode-image_xfm.h5", places)


def transform_files(space: str, places: Iterable[Path]) -> list[Path]:
    """All transforms between a space and others, in both directions, sorted."""
    name, ending = f"tpl-{space}_from-*", "_mode-image_xfm.h5"
    found: set[Path] = set()
    for place in places:
        for folder in (place, *sorted(place.glob("tpl-*"))):
            found |= set(folder.glob(f"{name}{ending}"))
            found |= set(folder.glob(f"tpl-*_from-{space}{ending}"))
    return sorted(found)


def template_files(
    space: str, resolution: float, places: Iterable[Path]
) -> tuple[Path, Path] | None:
    """T1w and brain mask of a template; None if they do not exist.

    Parameters
    ----------
    resolution : float
        Required voxel edge, mm: the coarsest images that are at least as fine are used, otherwise
        the finest.
    """
    sizes = ("02", "01") if resolution >= 2 else ("01", "02")
    for size in sizes:
        start = f"tpl-{space}_res-{size}"
        t1w = _first(space, f"{start}_T1w.nii.gz", places)
        mask = _first(space, f"{start}_desc-brain_mask.nii.gz", places)
        if t1w and mask:
            return t1w, mask
    return None


def itk_transform(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Read an ITK transform (.h5, composite or not) as a map of points (n, 3) in mm, RAS.

    Returns
    -------
    function
        ndarray (n, 3) to ndarray (n, 3), float64.
    """

    def moved(points: np.ndarray) -> np.ndarray:
        import ants  # takes two seconds, and most studies do not need it
        import numpy as np
        import pandas as pd

        lps = pd.DataFrame(
            np.asarray(points, dtype=np.float64) * np.array(LPS), columns=list("xyz")
        )
        found = ants.apply_transforms_to_points(3, lps, [str(path)])
        return found[["x", "y", "z"]].to_numpy(np.float64) * np.array(LPS)

    return moved


def _first(space: str, name: str, places: Iterable[Path]) -> Path | None:
    candidates = (folder / name for p in places for folder in (p / f"tpl-{space}", p))
    return next((c for c in candidates if c.is_file() and c.stat().st_size > 0), None)
