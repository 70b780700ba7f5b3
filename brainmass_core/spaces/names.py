"""Names of template spaces, as in TemplateFlow, and the spaces in file names."""

from __future__ import annotations

import re
from pathlib import Path

FSL = "MNI152NLin6Asym"  # FSL's MNI152, C-PAC's template, the published volumes of Schaefer's atlas
ICBM_2009A = "MNI152NLin2009aSym"  # nilearn's packaged template
ICBM_2009C = "MNI152NLin2009cAsym"  # fMRIPrep's default
KNOWN = (
    *(FSL, ICBM_2009A, ICBM_2009C),
    *("MNI152Lin", "MNI152NLin6Sym", "MNI152NLin2009aAsym", "MNI152NLin2009cSym"),
    *("MNI152NLin2009bAsym", "MNI152NLin2009bSym", "MNI305", "MNIColin27", "MNIPediatricAsym"),
)
# other programs' names of spaces with a known TemplateFlow name; lower case
ALIASES = {"fslmni152": FSL} | {name.lower(): name for name in KNOWN}  # C-PAC: MNI152NLin6ASym
# names of a family of spaces, or generic words; lower case
TOO_VAGUE = {"mni", "mni152", "mni152nlin", "icbm", "icbm152", "template", "standard", "talairach"}
# names of published templates and atlases without an entity; lower case
PUBLISHED = (
    (r"_fslmni152_", FSL),
    (r"^mni152_t1_(0\.5mm|1mm|2mm)(_|\.|$)", FSL),  # of FSL's data/standard
    (r"^mni_icbm152_.*nlin_asym_0?9c", ICBM_2009C),
    (r"^mni_icbm152_.*nlin_sym_0?9a", ICBM_2009A),
)


class SpaceError(ValueError):
    """A space is unknown, or there is no bridge between two spaces."""


def choices() -> str:
    """The most common names, for messages."""
    return (
        f"{FSL} (FSL, C-PAC, the published Schaefer atlas), {ICBM_2009C} (fMRIPrep's default), "
        f"{ICBM_2009A} (nilearn's template), or another name of TemplateFlow"
    )


def space_name(name: str) -> str:
    """Normalise the name of a space to TemplateFlow's, ignoring case and including FSLMNI152.

    Parameters
    ----------
    name : str
        Any name of letters and digits; an unknown one is returned unchanged.

    Raises
    ------
    SpaceError
        If several templates share the name, such as MNI152, or it is invalid.
    """
    lower = name.lower()
    if lower in TOO_VAGUE:
        raise SpaceError(
            f"found the space {name!r}, which several templates share, millimetres apart; "
            f"expected which of them: {choices()}"
        )
    if not re.fullmatch(r"[A-Za-z0-9]+", name):
        raise SpaceError(f"found the space {name!r}, expected letters and digits: {choices()}")
    return ALIASES.get(lower, name)


def space_of_file(path: str | Path) -> str | None:
    """Space in the name of a file; None if there is none.

    ``tpl-`` and ``space-`` are read, and the names under which FSL, ICBM and CBIG publish theirs.

    Raises
    ------
    SpaceError
        If the entity is ambiguous, such as ``space-MNI152``.
    """
    name = Path(path).name
    entity = re.search(r"(?:^|_)(?:space|tpl)-([A-Za-z0-9]+)", name)
    if entity:
        try:
            return space_name(entity[1])
        except SpaceError as error:
            raise SpaceError(f"{path}: {error}") from None
    found = (space for pattern, space in PUBLISHED if re.search(pattern, name.lower()))
    return next(found, None)


def agreed(said: dict[str, str | None], what: str, remedy: str) -> str:
    """The space that all sources agree on.

    Parameters
    ----------
    said : dict
        Space by source, named as in messages; None if the source does not state it.
    what : str
        Object whose space is determined, for messages.
    remedy : str
        How to state the space.

    Raises
    ------
    SpaceError
        If no source states it, or two contradict each other.
    """
    named = {source: space for source, space in said.items() if space is not None}
    if not named:
        raise SpaceError(f"{what}: its space is not known; {remedy}: {choices()}")
    if len(set(named.values())) > 1:
        texts = " but ".join(f"{source} says {space}" for source, space in named.items())
        raise SpaceError(f"{what}: {texts}; correct what is wrong")
    return next(iter(named.values()))
