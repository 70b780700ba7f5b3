"""Names of models, methods and features, of this package and of external encoders.

Names of this package are listed in the reference page and the schema. Those of external encoders
are looked up in `encoders.registry` when a file names one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticKnownError

from brainmass_core.encoders.methods import OWN, SERIES
from brainmass_core.encoders.registry import BUILT_IN, METHODS, encoders

MODEL_NAMES = tuple(model for encoder in BUILT_IN for model in encoder.models)
METHOD_NAMES = (*OWN, *(method for encoder in BUILT_IN for method in encoder.methods))
FEATURE_NAMES = (
    *("fc", SERIES),  # then of each pair of an encoder first those by pre-trained weights
    *(name for encoder in BUILT_IN for pair in encoder.pairs for name in reversed(pair)),
)


def _one_of(known: Sequence[str], more: Callable[[], Iterable[str]]) -> Callable[[Any], Any]:
    """Validator that refuses values neither listed nor among `more`, like a `Literal`."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and (value in known or value in more()):
            return value
        *first, last = map(repr, dict.fromkeys((*known, *more())))
        raise PydanticKnownError("literal_error", {"expected": f"{', '.join(first)} or {last}"})

    return check


def _listed(known: Sequence[str]) -> WithJsonSchema:
    return WithJsonSchema({"enum": list(known), "type": "string"})


def _models() -> list[str]:
    return [name for encoder in encoders() for name in encoder.models]


def feature_names() -> tuple[str, ...]:
    """All features for few-shot and zero-shot."""
    others = (name for encoder in encoders() for name in encoder.features)
    return tuple(dict.fromkeys((*FEATURE_NAMES, *others)))


def method_names() -> tuple[str, ...]:
    """All methods of tasks."""
    return tuple(METHODS)


ModelName = Annotated[str, BeforeValidator(_one_of(MODEL_NAMES, _models)), _listed(MODEL_NAMES)]
FeatureName = Annotated[
    str, BeforeValidator(_one_of(FEATURE_NAMES, feature_names)), _listed(FEATURE_NAMES)
]
MethodName = Annotated[
    str, BeforeValidator(_one_of(METHOD_NAMES, method_names)), _listed(METHOD_NAMES)
]
