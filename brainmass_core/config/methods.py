"""Methods: what each sees of a scan (`FEATURES`) and what is fitted to it (`ESTIMATORS`).

A method is one entry of each; users write ``<features>_<estimator>``. Which methods there are is
listed in `_COMPOSED`. Everything else about a method follows from its two entries. How
features are computed is in `finetune.methods.features`, how estimators are made in
`finetune.methods.fitting`; neither is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

Kinds = tuple[str, ...]


@dataclass(frozen=True)
class Features:
    """What an estimator is given of each scan.

    Attributes
    ----------
    name, label, text : str
        In the names of methods, in tables and figures, and as the beginning of a sentence.
    made : str
        Key of `finetune.methods.features.MAKERS`.
    to_train : str
        The same for an estimator that trains the encoder itself: what the encoder is given.
    encoder : str
        Model that has to be configured: ``brainmass``, ``brainlm`` for any BrainLM, or empty.
    weights : str
        Of the encoder: ``pretrained``, ``random``, or empty without one.
    brain : bool
        Whether anything of the brain is among them. What ``confounds: regress`` and ``combat``
        change are these features only.
    linear : bool
        Whether an SVM has a linear kernel: there are many more values than scans.
    standardised : bool
        Whether values are standardised before an SVM.
    """

    name: str
    label: str
    text: str
    made: str
    to_train: str = ""
    encoder: str = ""
    weights: str = ""
    brain: bool = True
    linear: bool = False
    standardised: bool = True

    @property
    def pretrained(self) -> bool:
        """Whether they are of the model that the study pre-trained."""
        return self.weights == "pretrained"

    @property
    def needs_model(self) -> bool:
        """Whether they cannot be had without the files of a pre-training."""
        # a BrainLM's scaling is that of its pre-training scans, whatever the weights
        return self.pretrained or self.encoder == "brainlm"


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
        if self.estimator.alone:
            return self.estimator.label
        if self.estimator.trains_encoder and not self.features.pretrained:
            return f"{self.features.label.removesuffix(' encoder')}, trained whole"
        plain = self.estimator.name == "svm" and self.features.name in PLAIN_SVM
        return self.features.label if plain else f"{self.features.label}, {self.estimator.label}"

    @property
    def given(self) -> str:
        """Key of `finetune.methods.features.MAKERS`."""
        return self.features.to_train if self.estimator.trains_encoder else self.features.made

    @property
    def kinds(self) -> Kinds:
        """Kinds of task that it can do."""
        return self.estimator.kinds

    @property
    def baseline(self) -> bool:
        """Whether a method on a pre-trained model is compared with it."""
        return not self.features.pretrained

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


PLAIN_SVM = ("confounds", "fc", "untrained", "brainmass", "series")  # whose label says no more
_FEATURES = (
    Features("nothing", "", "", "nothing", brain=False),
    Features(
        "confounds",
        "Confounds",
        "Site, age, sex and mean framewise displacement alone",
        "confounds",
        brain=False,
    ),
    Features("fc", "FC", "All edges of the FC matrix", "fc", linear=True),
    Features(
        "tangent",
        "Tangent FC",
        "FC in the tangent space at the training scans' geometric mean",
        "fc",
        linear=True,
    ),
    Features(
        "untrained",
        "Untrained encoder",
        "Embedding of the encoder with random weights",
        *("untrained", "fc", "brainmass", "random"),
    ),
    Features(
        "brainmass",
        "BrainMass",
        "Embedding of the frozen pre-trained encoder",
        *("brainmass", "fc_for_model", "brainmass", "pretrained"),
    ),
    Features(
        "untrained_brainlm",
        "Untrained BrainLM",
        "Mean embedding of a recording's windows by BrainLM with random weights",
        *("untrained_brainlm", "series", "brainlm", "random"),
    ),
    Features(
        "brainlm",
        "BrainLM",
        "Mean embedding of a recording's windows by the frozen BrainLM",
        *("brainlm", "series", "brainlm", "pretrained"),
    ),
    Features(
        "series",
        "Raw series",
        "The first window of each recording, scaled as the model is fed it",
        "series",
        encoder="brainlm",
        standardised=False,
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
_FROZEN = ("svm", "logistic", "ridge", "knn")
# in the order of the reference
_COMPOSED = (
    ("nothing", ("chance",)),
    ("confounds", ("svm", "ridge")),
    ("fc", _FROZEN),
    ("tangent", ("logistic", "ridge", "svm")),
    ("untrained", _FROZEN),
    ("brainmass", _FROZEN),
    ("fc", ("brainnetcnn", "transformer")),
    ("untrained", ("finetune",)),
    ("brainmass", ("finetune", "lora")),
    ("series", ("svm",)),
    ("untrained_brainlm", _FROZEN),
    ("brainlm", _FROZEN),
    ("untrained_brainlm", ("finetune",)),
    ("brainlm", ("finetune",)),
)
_METHODS = [Method(FEATURES[f], ESTIMATORS[e]) for f, names in _COMPOSED for e in names]
METHODS = {m.name: m for m in _METHODS}


def encoder_of(name: str) -> str:
    """The model that a method, or features, need to be configured; empty if none."""
    features = METHODS[name].features if name in METHODS else FEATURES.get(name)
    return features.encoder if features else ""


def is_pretrained(method: str) -> bool:
    """Whether a method is one on a pre-trained model; of an unknown name it is not."""
    return method in METHODS and METHODS[method].features.pretrained
