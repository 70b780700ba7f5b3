"""The record of a third encoder, outside the package; without torch."""

from __future__ import annotations

from brainmass_core.encoders import Encoder, Network, Pages

FEATURES = ["fc", "toy", "untrained_toy"]
ENCODER = Encoder(
    name="toy",
    label="Toy",
    phrase="the toy",
    sees="fc",
    models=("toy-linear",),
    implementation="toy_implementation:IMPLEMENTATION",
    untrained="untrained_toy",
    networks=(
        Network("toy_finetune", "Toy, fine-tuned", "The linear map and a head, trained on."),
        Network("only_a_head", "Toy, held fixed", "A head on the linear map.", training="head"),
    ),
    explains=("gradient", "permutation"),
    defaults={
        "finetune": {
            "methods": ["chance", "fc_svm", "untrained_toy_svm", "toy_svm"],
            "permutation_methods": ["fc_svm", "toy_svm"],
        },
        "few_shot": {"features": FEATURES},
        "zero_shot": {"features": FEATURES},
        "interpret": {"methods": ["gradient", "fc_pattern"]},
    },
    pages=Pages(
        features={
            "toy": ("Toy", "Linear map of the edges, pre-trained"),
            "untrained_toy": ("Untrained toy", "Linear map of the edges, drawn at random"),
        },
        cites={"toy": ("Nobody 2026", "Nobody N. A linear map. 2026")},
    ),
)
