"""Names of template spaces, as TemplateFlow writes them, and what files say about theirs."""

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
# what other programs call a space whose TemplateFlow name is known; lower case
ALIASES = {"fslmni152": FSL} | {name.lower(): name for name in KNOWN}  # C-PAC: MNI152NLin6ASym
# a family of spaces, or a word; lower case
TOO_VAGUE = {"mni", "mni152", "mni152nlin", "icbm", "icbm152", "template", "standard", "talairach"}
# names under which templates and atlases are published that carry no entity; lower case
PUBLISHED = (
    (r"_fslmni152_", FSL),
    (r"^mni152_t1_(0\.5mm|1mm|2mm)(_|\.|$)", FSL),  # of FSL's data/standard
    (r"^mni_icbm152_.*nlin_asym_0?9c", ICBM_2009C),
    (r"^mni_icbm152_.*nlin_sym_0?9a", ICBM_2009A),
)


class SpaceError(ValueError):
    """A space that is not known, or a pair of spaces without a bridge."""


def choices() -> str:
    """The usual names, for messages."""
    return (
        f"{FSL} (FSL, C-PAC, the published Schaefer atlas), {ICBM_2009C} (fMRIPrep's default), "
        f"{ICBM_2009A} (nilearn's template), or another name of TemplateFlow"
    )


def space_name(name: str) -> str:
    """A space under its TemplateFlow name, whatever the case, and FSLMNI152 under its own.

    Parameters
    ----------
    name : str
        Any name of letters and digits; one that is not known is taken as it is.

    Raises
    ------
    SpaceError
        If the name stands for several templates, such as MNI152, or is none.
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
    """What the name of a file says about its space; None if nothing.

    ``tpl-`` and ``space-`` are read, and the names under which FSL, ICBM and CBIG publish theirs.

    Raises
    ------
    SpaceError
        If the entity is too vague, such as ``space-MNI152``.
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
    """The one space that all sources name.

    Parameters
    ----------
    said : dict
        What each source says, by what it is called in a message; None where it says nothing.
    what : str
        Of which the space is sought, for messages.
    remedy : str
        How to say it.

    Raises
    ------
    SpaceError
        If no source says anything, or two contradict each other.
    """
    named = {source: space for source, space in said.items() if space is not None}
    if not named:
        raise SpaceError(f"{what}: its space is not known; {remedy}: {choices()}")
    if len(set(named.values())) > 1:
        texts = " but ".join(f"{source} says {space}" for source, space in named.items())
        raise SpaceError(f"{what}: {texts}; correct what is wrong")
    return next(iter(named.values()))
