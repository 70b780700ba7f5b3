"""Template spaces: what they are called, and where a point of one lies in another.

"MNI152" is a family of templates, in which the same anatomy lies millimetres apart. Here a space
has TemplateFlow's name, and points go from one to another through a bridge (`spaces.bridges`) or
not at all. Names need nothing but the standard library.
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
