"""BrainLM (Ortega Caro et al., ICLR 2024): encoders of parcel time series, in two architectures.

Its record; the rest of the folder is what the record names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainmass_core.encoders.record import Encoder, Network, Pages

HERE = "brainmass_core.encoders.brainlm"
# timepoints per token of models with one parcel per token; other models use image patches
TOKEN_STEPS = {"brainlm-tiny": 20, "brainlm-13m": 20}
FEATURES = ["fc", "series", "brainlm", "untrained_brainlm"]


def _check(settings: Any) -> None:
    """Refuse windows and `future_steps` that do not match the length of tokens."""
    s, patch = settings.brainlm, TOKEN_STEPS.get(settings.model, 1)
    for name, length in (("window", s.window), ("future_steps", s.future_steps)):
        if length % patch and (name == "window" or s.future_share):
            raise ValueError(
                f"brainlm.{name}: found {length}, expected a multiple of {patch}, the timepoints "
                f"per token of {settings.model}"
            )
    if s.future_share and s.future_steps >= s.window:
        raise ValueError(
            f"brainlm.future_steps: found {s.future_steps}, expected less than the window of "
            f"{s.window}"
        )


def _training(settings: Any) -> str:
    """Caption of the loss curves."""
    return (
        f"Mean squared error of hidden values during pre-training ({settings.model}, "
        f"{settings.epochs} epochs, {settings.brainlm.mask_ratio:.0%} hidden), and their "
        "variance, which is the error of predicting their mean."
    )


NETWORKS = (
    Network(
        "untrained_brainlm_finetune",
        "Untrained BrainLM, fine-tuned",
        "BrainLM with random weights and a head, on the first window of each recording, all "
        "parameters trained in every fold.",
        pretrained=False,
    ),
    Network(
        "brainlm_finetune",
        "BrainLM, fine-tuned",
        "The pre-trained BrainLM and a head, on the first window of each recording, all "
        "parameters fine-tuned in every fold.",
    ),
)
PAGES = Pages(
    features={
        "untrained_brainlm": (
            "Untrained BrainLM",
            "Mean embedding of a recording's windows by BrainLM with random weights",
        ),
        "brainlm": ("BrainLM", "Mean embedding of a recording's windows by the frozen BrainLM"),
    },
    training=_training,
    losses={"target_variance": "variance of what is hidden"},
    paragraph=Path(__file__).with_name("methods.html.jinja"),
    cites={
        "brainlm": (
            "Ortega Caro et al. 2024",
            "Ortega Caro J, de Oliveira Fonseca AH, Averill C, et al. BrainLM: A foundation model "
            "for brain activity recordings. ICLR 2024",
        )
    },
    sources={
        "brainlm": "its time series by a frozen BrainLM",
        "untrained_brainlm": "its time series by a BrainLM with random weights",
    },
)
ENCODER = Encoder(
    name="brainlm",
    label="BrainLM",
    phrase="a BrainLM",
    sees="series",
    models=("brainlm-13m", "brainlm-111m", "brainlm-650m", "brainlm-tiny", "brainlm-vit-tiny"),
    implementation=f"{HERE}.implementation:IMPLEMENTATION",
    untrained="untrained_brainlm",
    networks=NETWORKS,
    explains=("gradient",),
    token_steps=TOKEN_STEPS,
    knobs=("brainlm",),
    # instead of defaults that need the other encoder
    defaults={
        "finetune": {
            "methods": [
                *("chance", "confounds_svm", "fc_svm", "tangent_ridge"),
                *("series_svm", "untrained_brainlm_svm", "brainlm_svm"),
            ],
            "permutation_methods": [
                *("confounds_svm", "fc_svm"),
                *("untrained_brainlm_svm", "brainlm_svm"),
            ],
        },
        "few_shot": {"features": FEATURES},
        "zero_shot": {"features": FEATURES},
        "interpret": {"methods": ["fc_pattern"]},
    },
    check=_check,
    commands={"import-brainlm": f"{HERE}.commands:import_brainlm"},
    pages=PAGES,
)
