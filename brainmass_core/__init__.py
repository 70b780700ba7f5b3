"""brainmass: from raw fMRI scans to a diagnosis model a lab can defend.

The names in `__all__` are the public Python interface: functions of arrays, and the tables of a
finished study. Each is imported at first use, so that ``import brainmass_core`` is fast and torch
is only loaded with a model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "AtlasArrays",
    "BrainLM",
    "BrainMass",
    "StudyResults",
    "clean_series",
    "functional_connectivity",
    "load_atlas",
    "load_study",
    "pseudo_fc",
    "unvectorise",
    "vectorise",
]

_WHERE = {
    "AtlasArrays": "brainmass_core.atlas.arrays",
    "BrainLM": "brainmass_core.encoders.brainlm.model",
    "BrainMass": "brainmass_core.encoders.brainmass.model",
    "StudyResults": "brainmass_core.study",
    "clean_series": "brainmass_core.timeseries.denoise",
    "functional_connectivity": "brainmass_core.connectivity",
    "load_atlas": "brainmass_core.atlas.arrays",
    "load_study": "brainmass_core.study",
    "pseudo_fc": "brainmass_core.pfc",
    "unvectorise": "brainmass_core.connectivity",
    "vectorise": "brainmass_core.connectivity",
}

if TYPE_CHECKING:
    from brainmass_core.atlas.arrays import AtlasArrays, load_atlas
    from brainmass_core.connectivity import functional_connectivity, unvectorise, vectorise
    from brainmass_core.encoders.brainlm.model import BrainLM
    from brainmass_core.encoders.brainmass.model import BrainMass
    from brainmass_core.pfc import pseudo_fc
    from brainmass_core.study import StudyResults, load_study
    from brainmass_core.timeseries.denoise import clean_series


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_WHERE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
