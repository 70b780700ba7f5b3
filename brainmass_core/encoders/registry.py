"""Which encoders there are, and what the stages have to know of each.

An encoder is a record of plain data, an `Encoder`, and an `interface.Implementation` that the
record names and that is imported when a stage first asks for it. The two encoders of this package
and those of other packages are found alike, by ``module:attribute``: the former in `BUILT_IN`, the
latter in the entry-point group `GROUP` of whatever is installed, or by a call of `register`. Other
processes, such as those of the pre-training, see entry points only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from brainmass_core.encoders.interface import Implementation

GROUP = "brainmass.encoders"
BUILT_IN = (
    "brainmass_core.encoders.brainmass:ENCODER",
    "brainmass_core.encoders.brainlm:ENCODER",
)
SERIES = "series"  # features: the scaled series themselves, of any encoder that sees series
FROZEN = ("svm", "logistic", "ridge", "knn")  # estimators on a frozen embedding
Names = Mapping[str, tuple[str, str]]


class EncoderError(ValueError):
    """An encoder that there is not, or one whose names are taken."""


@dataclass(frozen=True)
class Pages:
    """How the report speaks of an encoder.

    Attributes
    ----------
    features : mapping
        Features to their short name and to what they are, the beginning of a sentence.
    methods : mapping
        Methods whose names do not follow from features and estimator, to short name and sentence.
    training : callable
        The section `pretrain` to the caption of the loss curves.
    losses : mapping
        Columns of the history that are drawn beside the total loss, and what they are called.
    paragraph : Path, optional
        Of the methods text, on its pre-training: a Jinja template of ``config``, ``m`` (the section
        `pretrain`) and ``cite``. Default: one that says no more than its name.
    headline : str, optional
        Method whose score is compared with that of FC in the first sentence on a task.
    cites : mapping
        Key to the citation in the text and the entry of the list of references.
    sources : mapping
        Features to what a deployed model predicts from, for its card. Default: FC.
    colour : str
        Of its methods in figures.
    """

    features: Names
    methods: Names = field(default_factory=dict)
    training: Callable[[Any], str] | None = None
    losses: Mapping[str, str] = field(default_factory=dict)
    paragraph: Path | None = None
    headline: str | None = None
    cites: Names = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    colour: str = "#D55E00"


@dataclass(frozen=True)
class Encoder:
    """What the stages know of an encoder before they load it.

    Attributes
    ----------
    name : str
        Of its features; begins its methods: ``brainlm``, ``brainlm_svm``.
    label : str
        On pages and in messages.
    phrase : str
        In messages, with an article.
    sees : {"fc", "series"}
        What it is trained on and shown: functional connectivity, or windows of time series.
    models : tuple of str
        Values of ``pretrain.model`` that mean it.
    implementation : str
        ``module:attribute`` of its `interface.Implementation`.
    untrained : str
        Features by the same architecture with its initial weights.
    networks : tuple of str
        Methods that train it with a head in every fold.
    explains : tuple of str
        Those of ``interpret.methods`` that need it and that it can be asked for.
    token_steps : mapping
        Of its models whose tokens are of one parcel each: the timepoints of a token.
    knobs : tuple of str
        Of the section `pretrain`: those that no other encoder has.
    defaults : mapping
        Section to knobs and their defaults in a study with this encoder.
    check : callable, optional
        Raises a ValueError for a section `pretrain` that this encoder cannot be trained by.
    commands : mapping
        Commands of ``brainmass`` that it brings, to ``module:attribute`` of a function.
    """

    name: str
    label: str
    phrase: str
    sees: Literal["fc", "series"]
    models: tuple[str, ...]
    implementation: str
    untrained: str
    pages: Pages
    networks: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()
    token_steps: Mapping[str, int] = field(default_factory=dict)
    knobs: tuple[str, ...] = ()
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    check: Callable[[Any], None] | None = None
    commands: Mapping[str, str] = field(default_factory=dict)

    @property
    def sees_series(self) -> bool:
        """Whether it is shown windows of time series; else it is shown FC."""
        return self.sees == "series"

    @property
    def features(self) -> tuple[str, str]:
        """Its frozen embedding, and the same by its initial weights."""
        return (self.untrained, self.name)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that are of this encoder alone."""
        frozen = (f"{features}_{estimator}" for features in self.features for estimator in FROZEN)
        return (*frozen, *self.networks)

    def load(self) -> Implementation:
        """What it does in each stage; imports torch."""
        return resolve(self.implementation)


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
    return (*_built_in(), *_REGISTERED.values(), *_installed())


def encoder_of(model: str) -> Encoder:
    """The encoder that a value of ``pretrain.model`` means.

    Raises
    ------
    EncoderError
        If there is none.
    """
    for encoder in (*_built_in(), *_REGISTERED.values()):
        if model in encoder.models:
            return encoder
    for encoder in _installed():  # looked for only if needed: that reads every installed package
        if model in encoder.models:
            return encoder
    known = [name for encoder in encoders() for name in encoder.models]
    raise EncoderError(f"there is no model {model!r}; there are {', '.join(known)}")


def owner_of(name: str) -> Encoder | None:
    """The encoder whose embedding or fine-tuning a method or feature is; None: it needs none."""
    for encoder in encoders():
        if name in encoder.features or name in encoder.methods:
            return encoder
    return None


def is_untrained(name: str) -> bool:
    """Whether a method or feature is by an encoder with its initial weights."""
    owner = owner_of(name)
    if owner is None:
        return False
    return name == owner.untrained or name.startswith(f"{owner.untrained}_")


def is_pretrained(name: str) -> bool:
    """Whether a method or feature is by a pre-trained encoder."""
    return owner_of(name) is not None and not is_untrained(name)


def is_series(name: str) -> bool:
    """Whether a method or feature is the series themselves, as an encoder of series sees them."""
    return name == SERIES or name.rpartition("_")[0] == SERIES


def needed_by(name: str) -> tuple[Encoder, ...]:
    """Encoders of which one is needed for a method or feature; empty: it needs none."""
    if is_series(name):
        return tuple(e for e in encoders() if e.sees_series)
    owner = owner_of(name)
    return (owner,) if owner else ()


def goes_with(name: str, encoder: Encoder) -> bool:
    """Whether a method or feature can be had in a study with this encoder."""
    needed = needed_by(name)
    return not needed or encoder in needed


def scaled_series(name: str) -> bool:
    """Whether a method or feature sees time series, scaled by statistics of a pre-training."""
    return is_series(name) or bool((owner := owner_of(name)) and owner.sees_series)


def resolve(place: str) -> Any:
    """What ``module:attribute`` names."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


@cache
def _built_in() -> tuple[Encoder, ...]:
    return tuple(resolve(place) for place in BUILT_IN)


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
        _refuse_taken(encoder, (*_built_in(), *found))
        found.append(encoder)
    return tuple(found)


def _refuse_taken(encoder: Encoder, others: Iterable[Encoder]) -> None:
    for other in others:
        for what, mine, theirs in (
            ("name", [encoder.name], [other.name]),
            ("model", encoder.models, other.models),
            ("features", encoder.features, other.features),
            ("method", encoder.methods, other.methods),
        ):
            if taken := sorted(set(mine) & set(theirs)):
                raise EncoderError(
                    f"encoder {encoder.name}: the {what} {taken[0]!r} is that of {other.label}; "
                    "choose another"
                )
