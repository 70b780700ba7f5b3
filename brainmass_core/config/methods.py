"""Methods: what each sees of a scan (features) and what is fitted to it (`ESTIMATORS`).

A method is one of each; users write ``<features>_<estimator>``. Features and methods of an encoder
come with its record (`encoders.registry`); the others are `FEATURES` and `_COMPOSED`. Everything
else about a method follows from its two parts. How features are computed is in
`finetune.methods.features`, how estimators are made in `finetune.methods.estimators`; neither is
imported here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from brainmass_core.encoders.registry import FROZEN, SERIES, Encoder, encoders

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
    weights : str
        Of the encoder: ``pretrained``, ``random``, or empty without one.
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
    weights: str = ""
    brain: bool = True
    linear: bool = False
    standardised: bool = True
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)


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
    """One way to predict: features and an estimator."""

    features: Features
    estimator: Estimator

    @property
    def name(self) -> str:
        """As users write it."""
        names = (self.features.name, self.estimator.name)
        return names[1] if self.estimator.alone else "_".join(names)

    @property
    def label(self) -> str:
        """In tables and figures."""
        if self.name in self.features.texts:
            return self.features.texts[self.name][0]
        if self.estimator.alone:
            return self.estimator.label
        return f"{self.features.label}, {self.estimator.label}"

    @property
    def sentence(self) -> str:
        """What it sees and how it decides."""
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
    def baseline(self) -> bool:
        """Whether a method on a pre-trained model is compared with it."""
        return self.features.weights != "pretrained"

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
FEATURES = {f.name: f for f in _FEATURES}
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
# in the order of the reference; the encoders' names are only names here
_COMPOSED = (
    ("nothing", ("chance",)),
    ("confounds", ("svm", "ridge")),
    ("fc", FROZEN),
    ("tangent", ("logistic", "ridge", "svm")),
    ("untrained", FROZEN),
    ("brainmass", FROZEN),
    ("fc", ("brainnetcnn", "transformer")),
    ("untrained", ("finetune",)),
    ("brainmass", ("finetune", "lora")),
    (SERIES, ("svm",)),
    ("untrained_brainlm", FROZEN),
    ("brainlm", FROZEN),
    ("untrained_brainlm", ("finetune",)),
    ("brainlm", ("finetune",)),
)
_PAIRS = [(f, ESTIMATORS[e]) for f, estimators in _COMPOSED for e in estimators]
METHOD_NAMES = tuple(e.name if e.alone else f"{f}_{e.name}" for f, e in _PAIRS)
OWN = {m.name: m for m in (Method(FEATURES[f], e) for f, e in _PAIRS if f in FEATURES)}


def features_of(encoder: Encoder) -> Iterator[Features]:
    """Its embedding by the initial weights, and by those of the pre-training."""
    to_train = (SERIES, SERIES) if encoder.sees_series else ("fc", "fc_for_model")
    for name, given, weights in zip(
        encoder.features, to_train, ("random", "pretrained"), strict=True
    ):
        label, text = encoder.pages.features[name]
        yield Features(name, label, text, name, given, weights, texts=encoder.pages.methods)


def _methods_of(encoder: Encoder) -> Iterator[Method]:
    for features in features_of(encoder):
        for estimator in ESTIMATORS.values():
            method = Method(features, estimator)
            if method.name in encoder.methods:
                yield method


class _Methods(Mapping[str, Method]):
    """Methods by name: those of this package, and those of the encoders that there are by now."""

    def _all(self) -> dict[str, Method]:
        found = OWN | {m.name: m for e in encoders() for m in _methods_of(e)}
        names = dict.fromkeys((*METHOD_NAMES, *found))
        return {name: found[name] for name in names if name in found}

    def __getitem__(self, name: str) -> Method:
        return OWN[name] if name in OWN else self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


METHODS = _Methods()


def features_by_name() -> dict[str, Features]:
    """All features, those of encoders after the others."""
    return FEATURES | {f.name: f for e in encoders() for f in features_of(e)}


def is_pretrained(method: str) -> bool:
    """Whether a method is one on a pre-trained model; of an unknown name it is not."""
    return method in METHODS and not METHODS[method].baseline
