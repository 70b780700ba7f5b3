"""Methods: what each sees of a scan (features) and what is fitted to it (`ESTIMATORS`).

A method is a record, a `Method`: its features, its estimator, the encoder behind the features, and
whether that encoder is pre-trained. `registry.METHODS` finds it by the name that users write; no
code takes a name apart. The methods in `OWN` need no encoder; `methods_of` makes those of an
encoder from its record. How features are computed is in `finetune.methods.features`, how estimators
are made in `finetune.methods.estimators`; neither is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from brainmass_core.encoders.record import FROZEN, LINEAR, Encoder, Network

FC_FOR_MODEL = "fc_for_model"  # FC, after a check that the pre-trained model is of the same kind
SERIES = "series"  # features: the scaled series themselves, as an encoder of series sees them
Kinds = tuple[str, ...]


@dataclass(frozen=True)
class Features:
    """What an estimator is given of each scan.

    Attributes
    ----------
    name, label, text : str
        In the names of methods, in tables and figures, and as the beginning of a sentence.
    made : str
        What `finetune.methods.features` makes.
    to_train : str
        The same for an estimator that trains the encoder itself: what the encoder is given.
    encoder : Encoder, optional
        Whose embedding they are.
    pretrained : bool
        Whether that encoder has its pre-trained weights; else it has its initial ones.
    readout : str
        Of the encoder's readouts; empty: its embedding.
    series : bool
        Whether they are made from time series, scaled by statistics of the pre-training scans.
    brain : bool
        Whether anything of the brain is among them. What ``confounds: regress`` and ``combat``
        change are these features only.
    linear : bool
        Whether an SVM has a linear kernel: there are many more values than scans.
    standardised : bool
        Whether values are standardised before an SVM.
    texts : mapping
        Methods on them whose label and sentence do not follow from the parts, to both.
    """

    name: str
    label: str
    text: str
    made: str
    to_train: str = ""
    encoder: Encoder | None = None
    pretrained: bool = False
    readout: str = ""
    series: bool = False
    brain: bool = True
    linear: bool = False
    standardised: bool = True
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def needs_pretraining(self) -> bool:
        """Whether they cannot be made without the files of a pre-training.

        The scaling of series is that of the pre-training scans, whatever the weights.
        """
        return self.pretrained or self.series


@dataclass(frozen=True)
class Estimator:
    """What is fitted to the training scans of a fold.

    Attributes
    ----------
    name, label, text : str
        In the names of methods, in tables and figures, and as the end of a sentence.
    kinds : tuple of str
        Kinds of task that it can do.
    alone : bool
        Whether the method is called like the estimator, which goes with one kind of features.
    trains_encoder : bool
        Whether it is a network of which the encoder is a part.
    is_network : bool
        Whether it is trained by the loop of `finetune.methods.neural`.
    stores_scans : bool
        Whether features of training scans are part of the fitted estimator.
    """

    name: str
    label: str
    text: str = ""
    kinds: Kinds = ("classification", "regression")
    alone: bool = False
    trains_encoder: bool = False
    is_network: bool = False
    stores_scans: bool = False


@dataclass(frozen=True)
class Method:
    """One way to predict: features and an estimator.

    Attributes
    ----------
    network : Network, optional
        Of the encoder, if the method is one of those that train it.
    """

    features: Features
    estimator: Estimator
    network: Network | None = None

    @property
    def name(self) -> str:
        """As users write it."""
        if self.network:
            return self.network.name
        names = (self.features.name, self.estimator.name)
        return names[1] if self.estimator.alone else "_".join(names)

    @property
    def label(self) -> str:
        """In tables and figures."""
        if self.network:
            return self.network.label
        if self.name in self.features.texts:
            return self.features.texts[self.name][0]
        if self.estimator.alone:
            return self.estimator.label
        return f"{self.features.label}, {self.estimator.label}"

    @property
    def sentence(self) -> str:
        """What it sees and how it decides."""
        if self.network:
            return self.network.text
        if self.name in self.features.texts:
            return self.features.texts[self.name][1]
        return f"{self.features.text}, standardised; {self.estimator.text}."

    @property
    def given(self) -> str:
        """What `finetune.methods.features` makes for it."""
        return self.features.to_train if self.estimator.trains_encoder else self.features.made

    @property
    def kinds(self) -> Kinds:
        """Kinds of task that it can do."""
        return self.estimator.kinds

    @property
    def encoder(self) -> Encoder | None:
        """Whose embedding it sees, or which it trains."""
        return self.features.encoder

    @property
    def pretrained(self) -> bool:
        """Whether that encoder has its pre-trained weights."""
        return self.features.pretrained

    @property
    def series(self) -> bool:
        """Whether it sees time series; else it sees FC, confounds or nothing."""
        return self.features.series

    @property
    def baseline(self) -> bool:
        """Whether a method on a pre-trained model is compared with it."""
        return not self.pretrained

    @property
    def deployable(self) -> bool:
        """Whether it can be stored as a model: one that sees no scan diagnoses nobody."""
        return self.features.brain

    @property
    def stores_scans(self) -> bool:
        """Whether a stored model holds features of its training scans: neighbours, or support
        vectors of a radial kernel."""
        radial = self.estimator.name == "svm" and not self.features.linear
        return self.estimator.stores_scans or radial


_FEATURES = (
    Features(
        *("nothing", "", "", "nothing"),
        brain=False,
        texts={"chance": ("Chance", "A class drawn with the proportions of the training scans.")},
    ),
    Features(
        "confounds",
        "Confounds",
        "Site, age, sex and mean framewise displacement alone",
        "confounds",
        brain=False,
        texts={
            "confounds_svm": (
                "Confounds",
                "Site, age, sex and mean framewise displacement alone, no brain signal; SVM with "
                "radial kernel, C = 1.",
            )
        },
    ),
    Features(
        "fc",
        "FC",
        "All edges of the FC matrix",
        "fc",
        linear=True,
        texts={
            "fc_svm": (
                "FC",
                "All edges of the FC matrix, standardised; SVM with linear kernel, C = 1.",
            ),
            "brainnetcnn": (
                "BrainNetCNN",
                "All of FC, by a convolutional network trained in every fold.",
            ),
            "transformer": (
                "BNT",
                "All of FC, by a Brain Network Transformer trained in every fold.",
            ),
        },
    ),
    Features(
        "tangent",
        "Tangent FC",
        "FC in the tangent space at the training scans' geometric mean",
        "fc",
        linear=True,
    ),
    Features(
        SERIES,
        "Raw series",
        "The first window of each recording, scaled as the model is fed it",
        SERIES,
        series=True,
        standardised=False,
        texts={
            "series_svm": (
                "Raw series",
                "The first window of each recording, scaled as the model is fed it, as up to 200 "
                "principal components of the training scans; SVM with radial kernel, C = 1.",
            )
        },
    ),
)
OWN_FEATURES = {f.name: f for f in _FEATURES}
_ESTIMATORS = (
    Estimator("chance", "Chance", alone=True),
    Estimator("svm", "SVM", "SVM, C = 1"),
    Estimator(
        "logistic",
        "logistic",
        "logistic regression, its penalty chosen within the training set",
        kinds=("classification",),
    ),
    Estimator("ridge", "ridge", "ridge regression, its penalty chosen within the training set"),
    Estimator(
        "knn",
        "k-NN",
        "nearest neighbours, their number chosen within the training set",
        stores_scans=True,
    ),
    Estimator("brainnetcnn", "BrainNetCNN", alone=True, is_network=True),
    Estimator("transformer", "BNT", alone=True, is_network=True),
    Estimator("finetune", "fine-tuned", trains_encoder=True, is_network=True),
    Estimator("lora", "LoRA", trains_encoder=True, is_network=True),
)
ESTIMATORS = {e.name: e for e in _ESTIMATORS}
_COMPOSED = (  # in the order of the reference
    ("nothing", ("chance",)),
    ("confounds", ("svm", "ridge")),
    ("fc", FROZEN),
    ("tangent", ("logistic", "ridge", "svm")),
    ("fc", ("brainnetcnn", "transformer")),
    (SERIES, ("svm",)),
)
_PAIRS = [Method(OWN_FEATURES[f], ESTIMATORS[e]) for f, es in _COMPOSED for e in es]
OWN = {method.name: method for method in _PAIRS}


def features_of(encoder: Encoder) -> tuple[Features, ...]:
    """Its embedding by the initial weights and by those of the pre-training, and its readouts."""
    of_series = encoder.sees_series
    to_train = (SERIES, SERIES) if of_series else ("fc", FC_FOR_MODEL)
    texts = encoder.pages.methods
    initial, trained = (
        Features(
            *(name, *encoder.pages.features[name], name, given, encoder, trained),
            series=of_series,
            texts=texts,
        )
        for name, given, trained in zip(encoder.features[:2], to_train, (False, True), strict=True)
    )
    more = (
        replace(base, name=name, label=label, text=text, made=name, readout=r.name, linear=True)
        for r in encoder.readouts
        for base, name in ((initial, r.untrained), (trained, r.pretrained))
        for label, text in (encoder.pages.features[name],)
    )
    return (initial, trained, *more)


def methods_of(encoder: Encoder) -> Iterator[Method]:
    """Those on its frozen embedding, then those that train it."""
    initial, trained, *readouts = features_of(encoder)
    for features in (initial, trained):
        yield from (Method(features, ESTIMATORS[name]) for name in FROZEN)
    for network in encoder.networks:
        own = Estimator(network.training, network.training, trains_encoder=True, is_network=True)
        estimator = ESTIMATORS.get(network.training, own)
        yield Method(trained if network.pretrained else initial, estimator, network)
    for features in readouts:
        yield from (Method(features, ESTIMATORS[name]) for name in LINEAR)
