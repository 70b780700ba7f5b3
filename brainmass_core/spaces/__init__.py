"""Template spaces: names, and transforms of points between them.

"MNI152" is a family of templates, in which the same anatomy is millimetres apart. Here a space has
TemplateFlow's name, and points are only transformed between spaces by a bridge (`spaces.bridges`).
The module of names only needs the standard library.
"""

from brainmass_core.spaces.names import (
    FSL,
    ICBM_2009A,
    ICBM_2009C,
    SpaceError,
    agreed,
    choices,
    space_name,
    space_of_file,
)

__all__ = [
    "FSL",
    "ICBM_2009A",
    "ICBM_2009C",
    "SpaceError",
    "agreed",
    "choices",
    "space_name",
    "space_of_file",
]
