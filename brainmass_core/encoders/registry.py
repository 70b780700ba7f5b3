"""Which encoders there are, and which features and methods, by name.

The encoders of this package are `BUILT_IN`. Those of other packages are found by entry points of
the group `GROUP` of whatever is installed, or by a call of `register`. Other processes, such as
those of the pre-training, see entry points only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar

from brainmass_core.encoders.brainlm.record import ENCODER as BRAINLM
from brainmass_core.encoders.brainmass.record import ENCODER as BRAINMASS
from brainmass_core.encoders.methods import (
    FC_FOR_MODEL,
    OWN,
    OWN_FEATURES,
    Features,
    features_of,
    methods_of,
)
from brainmass_core.encoders.record import Encoder, EncoderError

GROUP = "brainmass.encoders"
BUILT_IN = (BRAINMASS, BRAINLM)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)
_REGISTERED: dict[str, Encoder] = {}


def register(encoder: Encoder) -> Encoder:
    """Make an encoder known to this process.

    Raises
    ------
    EncoderError
        If one of its names is taken.
    """
    _refuse_taken(encoder, encoders())
    _REGISTERED[encoder.name] = encoder
    return encoder


def unregister(name: str) -> None:
    """Forget an encoder that `register` made known."""
    _REGISTERED.pop(name, None)


def encoders() -> tuple[Encoder, ...]:
    """All encoders: those of this package first, then those registered, then entry points."""
    return (*BUILT_IN, *_REGISTERED.values(), *_installed())


def encoder_of(model: str) -> Encoder:
    """The encoder that a value of ``pretrain.model`` means.

    Raises
    ------
    EncoderError
        If there is none.
    """
    for encoder in (*BUILT_IN, *_REGISTERED.values()):
        if model in encoder.models:
            return encoder
    for encoder in _installed():  # looked for only if needed: that reads every installed package
        if model in encoder.models:
            return encoder
    known = [name for encoder in encoders() for name in encoder.models]
    raise EncoderError(f"there is no model {model!r}; there are {', '.join(known)}")


class _ByName(Mapping[str, T]):
    """Records by name: those of this package, and those of the encoders that there are by now."""

    def __init__(self, own: dict[str, T], brought: Callable[[Encoder], Iterable[T]]) -> None:
        self._own, self._brought = own, brought
        self._known: tuple[Encoder, ...] = ()
        self._of_encoders: dict[str, T] = {}

    def _others(self) -> dict[str, T]:
        if (known := encoders()) != self._known:
            self._of_encoders = {r.name: r for e in known for r in self._brought(e)}
            self._known = known
        return self._of_encoders

    def __getitem__(self, name: str) -> T:
        return self._own[name] if name in self._own else self._others()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own | self._others())

    def __len__(self) -> int:
        return len(self._own | self._others())


FEATURES = _ByName(OWN_FEATURES, features_of)
METHODS = _ByName(OWN, methods_of)


def is_pretrained(method: str) -> bool:
    """Whether a method is one on a pre-trained model; of an unknown name it is not."""
    return method in METHODS and METHODS[method].pretrained


def needed_by(features: Features) -> tuple[Encoder, ...]:
    """Encoders of which one is needed for some features; empty: they need none."""
    if features.encoder:
        return (features.encoder,)
    return tuple(e for e in encoders() if e.sees_series) if features.series else ()


def owner_of(given: str) -> Encoder | None:
    """The encoder that makes what an estimator is given (`Method.given`); None: no encoder does."""
    return FEATURES[given].encoder if given in FEATURES else None


def scaled_series(given: str) -> bool:
    """Whether what an estimator is given is made from scaled time series."""
    return given in FEATURES and FEATURES[given].series


def resolve(place: str) -> Any:
    """What ``module:attribute`` names."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


@cache
def _installed() -> tuple[Encoder, ...]:
    found: list[Encoder] = []
    for point in sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value)):
        try:
            encoder = point.load()
        except (ImportError, AttributeError) as error:
            raise EncoderError(
                f"the encoder {point.name} ({point.value}) of an installed package cannot be "
                f"loaded: {error}; repair or remove that package"
            ) from None
        _refuse_taken(encoder, (*BUILT_IN, *found))
        found.append(encoder)
    return tuple(found)


def _refuse_taken(encoder: Encoder, others: Iterable[Encoder]) -> None:
    twice = [name for name in encoder.methods if encoder.methods.count(name) > 1]
    if twice:
        raise EncoderError(
            f"encoder {encoder.name}: the method {twice[0]!r} is given twice; call one otherwise"
        )
    mine = _names_of(encoder)
    ours = {"features": {*OWN_FEATURES, FC_FOR_MODEL}, "method": set(OWN)}
    for label, theirs in (("brainmass_core", ours), *((o.label, _names_of(o)) for o in others)):
        for what, names in theirs.items():
            if taken := sorted(mine[what] & names):
                raise EncoderError(
                    f"encoder {encoder.name}: the {what} {taken[0]!r} is that of {label}; "
                    "choose another"
                )


def _names_of(encoder: Encoder) -> dict[str, set[str]]:
    return {
        "name": {encoder.name},
        "model": set(encoder.models),
        "features": set(encoder.features),
        "method": set(encoder.methods),
    }
