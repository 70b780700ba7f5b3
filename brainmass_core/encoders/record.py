"""What the stages know of an encoder before they load it: plain data, one `Encoder` for each.

Nothing is imported here, so that the configuration can read records. What an encoder does is an
`interface.Implementation`, which its record names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FROZEN = ("svm", "logistic", "ridge", "knn")  # estimators on a frozen embedding
LINEAR = ("svm", "logistic", "ridge")  # estimators on many more values than scans
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
        Methods on its frozen embedding whose short name and sentence do not follow from features
        and estimator, to both.
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
class Network:
    """A method that trains an encoder with a head in every fold.

    Attributes
    ----------
    name : str
        As users write it; any that is free.
    label, text : str
        In tables and figures; what it does, in a sentence.
    training : str
        Which part is trained: ``finetune`` (all of it), ``lora`` (adapters), or a word of the
        encoder's own, by which its implementation tells its recipes apart.
    pretrained : bool
        Whether it starts from the pre-trained weights; else from the initial ones.
    """

    name: str
    label: str
    text: str
    training: str = "finetune"
    pretrained: bool = True


@dataclass(frozen=True)
class Readout:
    """Features made by a frozen encoder that are not its embedding, for linear estimators.

    Attributes
    ----------
    name : str
        Passed to ``encode`` of the model.
    untrained, pretrained : str
        Features by the initial and by the pre-trained weights.
    """

    name: str
    untrained: str
    pretrained: str


@dataclass(frozen=True, eq=False)
class Encoder:
    """What the stages know of an encoder before they load it.

    Attributes
    ----------
    name : str
        Of its features; begins the methods on its frozen embedding: ``brainlm``, ``brainlm_svm``.
    label : str
        On pages and in messages.
    phrase : str
        In messages, with an article.
    sees : {"fc", "series"}
        What it is trained on and shown: functional connectivity, or windows of time series.
    models : tuple of str
        Values of ``pretrain.model`` that mean it.
    implementation : str
        ``module:attribute`` of its `interface.Implementation`, see `interface.implementation_of`.
    untrained : str
        Features by the same architecture with its initial weights.
    networks : tuple of Network
        Methods that train it with a head in every fold.
    readouts : tuple of Readout
        Further features than its embedding.
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
    networks: tuple[Network, ...] = ()
    readouts: tuple[Readout, ...] = ()
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
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Its frozen embedding by its initial weights and by those of the pre-training, then the
        same for each of its readouts."""
        readouts = ((r.untrained, r.pretrained) for r in self.readouts)
        return ((self.untrained, self.name), *readouts)

    @property
    def features(self) -> tuple[str, ...]:
        """All features in the order of `pairs`."""
        return tuple(name for pair in self.pairs for name in pair)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that are of this encoder alone."""
        pair, readouts = self.features[:2], self.features[2:]
        frozen = (f"{features}_{estimator}" for features in pair for estimator in FROZEN)
        linear = (f"{features}_{estimator}" for features in readouts for estimator in LINEAR)
        return (*frozen, *(network.name for network in self.networks), *linear)
