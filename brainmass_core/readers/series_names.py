"""Which region a column of a series file is: its name compared with those of the atlas."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

NUMBERED = re.compile(
    r"#?\s*(roi|rois|region|parcel|label|node|mean|column|col|var|ts|time|vol|volume|frame|"
    r"unnamed:|#|v|x|t)?[\s_.:-]*(?P<number>\d+)(\.0*)?",
    re.IGNORECASE | re.ASCII,
)
ATLAS_OF_NAME = re.compile(
    r"^x?\d+networks_"
)  # R writes an X before a name that begins with a digit


class NamesError(ValueError):
    """Names that are not those of the atlas; the message begins with what was found."""


def is_generic(names: Sequence[str]) -> bool:
    """Whether names only count: ROI1, #2001, Mean_1, V1, 0, 1, 2."""
    return all(NUMBERED.fullmatch(name) for name in names)


def order_of(
    names: Sequence[str], atlas: Sequence[str], index: Sequence[int], named: bool = True
) -> np.ndarray | None:
    """Which column of a file each parcel of the atlas is.

    Names are compared without upper and lower case, without ``7Networks_`` at their beginning, and
    with ``-``, ``.`` and spaces as ``_``.

    Parameters
    ----------
    names : sequence of str
        Of the columns of a file, as many as the atlas has parcels.
    atlas : sequence of str
        Names of the parcels, in order.
    index : sequence of int
        Their values in the label image.
    named : bool
        Whether the atlas has names; without a look-up table its parcels are only numbered.

    Returns
    -------
    ndarray (n_rois,) of int or None
        None if the columns are already in order, or have no names.

    Raises
    ------
    NamesError
        If they are other names, or numbers in an unknown order.
    """
    for simple in (str, _simplified):
        found, wanted = [simple(n) for n in names], [simple(n) for n in atlas]
        if found == wanted:
            return None
        if len(set(wanted)) == len(wanted) and Counter(found) == Counter(wanted):
            place = {name: i for i, name in enumerate(found)}
            return np.array([place[name] for name in wanted])
    if is_generic(names):
        return _order_of_numbers(names, index)
    if not named:
        return None
    known = set(map(_simplified, atlas))
    strange = [name for name in names if _simplified(name) not in known]
    if strange:
        raise NamesError(
            f"{len(strange)} of {len(names)} columns have names that the atlas does not have: "
            f"{', '.join(map(repr, strange[:5]))}; expected such as {', '.join(atlas[:5])}"
        )
    twice = [name for name, n in Counter(names).items() if n > 1]
    raise NamesError(f"columns have the same name: {', '.join((twice or list(names))[:5])}")


def _simplified(name: str) -> str:
    return ATLAS_OF_NAME.sub("", re.sub(r"[\s_.-]+", "_", name.strip().lower()))


def _order_of_numbers(names: Sequence[str], index: Sequence[int]) -> np.ndarray | None:
    matches = [NUMBERED.fullmatch(name) for name in names]
    numbers = [int(m["number"]) for m in matches if m]
    if all(a < b for a, b in pairwise(numbers)):
        return None
    for wanted in (list(index), list(range(1, len(names) + 1)), list(range(len(names)))):
        if sorted(numbers) == sorted(wanted):
            place = {number: i for i, number in enumerate(numbers)}
            return np.array([place[number] for number in sorted(wanted)])
    raise NamesError(
        f"columns are numbered {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}, which is "
        "neither ascending nor the values of the atlas in another order"
    )
