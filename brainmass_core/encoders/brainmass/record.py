"""BrainMass (Yang et al., IEEE TMI 2024): an encoder of functional connectivity.

Its record; the rest of the folder is what the record names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainmass_core.encoders.record import Encoder, Network, Pages, Readout

HERE = "brainmass_core.encoders.brainmass"


def _training(settings: Any) -> str:
    """Caption of the loss curves."""
    return (
        f"Losses of pre-training (size {settings.size}, {settings.epochs} epochs); the total "
        f"weights classification by {settings.lambda_classification:g} and reconstruction by "
        f"{settings.lambda_reconstruction:g}."
    )


NETWORKS = (
    Network(
        "untrained_finetune",
        "Untrained, fine-tuned",
        "The encoder with random weights and a head, all parameters trained in every fold. "
        "The control for the effect of pre-training on fine-tuning.",
        pretrained=False,
    ),
    Network(
        "brainmass_finetune",
        "BrainMass, fine-tuned",
        "The pre-trained encoder and a head, all parameters fine-tuned in every fold.",
    ),
    Network(
        "brainmass_lora",
        "BrainMass, LoRA",
        "The frozen pre-trained encoder, with low-rank adapters and a head trained in every fold.",
        training="lora",
    ),
)
PAGES = Pages(
    features={
        "untrained": ("Untrained encoder", "Embedding of the encoder with random weights"),
        "brainmass": ("BrainMass", "Embedding of the frozen pre-trained encoder"),
        "untrained_tokens": (
            "Untrained tokens",
            "Tokens of the last layer of the encoder with random weights, of their matrix the "
            "values above the diagonal",
        ),
        "brainmass_tokens": (
            "BrainMass tokens",
            "Tokens of the last layer of the frozen pre-trained encoder, of their matrix the "
            "values above the diagonal",
        ),
        "untrained_projection": (
            "Untrained projection",
            "Projection of the embedding by the encoder and projector with random weights",
        ),
        "brainmass_projection": (
            "BrainMass projection",
            "Projection of the embedding by the frozen pre-trained encoder and projector, which "
            "pre-training makes alike for two views of a scan",
        ),
        "fc_untrained": (
            "FC + untrained",
            "All edges of the FC matrix and the embedding of the encoder with random weights",
        ),
        "fc_brainmass": (
            "FC + BrainMass",
            "All edges of the FC matrix and the embedding of the frozen pre-trained encoder",
        ),
    },
    methods={
        "untrained_svm": (
            "Untrained encoder",
            "Embedding of the encoder with random weights, standardised and clipped at 5 SD; SVM "
            "with radial kernel, C = 1. The control for pre-training.",
        ),
        "brainmass_svm": (
            "BrainMass",
            "Embedding of the frozen pre-trained encoder, standardised and clipped at 5 SD; SVM "
            "with radial kernel, C = 1.",
        ),
    },
    training=_training,
    losses={
        "loss_alignment": "latent alignment",
        "loss_classification": "masked-ROI classification",
        "loss_reconstruction": "masked-ROI reconstruction",
    },
    paragraph=Path(__file__).with_name("methods.html.jinja"),
    headline="brainmass_svm",
    cites={
        "brainmass": (
            "Yang et al. 2024",
            "Yang Y, Ye C, Su G, et al. BrainMass: Advancing Brain Network Analysis for Diagnosis "
            "with Large-scale Self-Supervised Learning. IEEE Trans Med Imaging 2024. "
            "doi:10.1109/TMI.2024.3414476",
        )
    },
)
ENCODER = Encoder(
    name="brainmass",
    label="BrainMass",
    phrase="the encoder of brainmass",
    sees="fc",
    models=("brainmass",),
    implementation=f"{HERE}.implementation:IMPLEMENTATION",
    untrained="untrained",
    networks=NETWORKS,
    readouts=(
        Readout("tokens", "untrained_tokens", "brainmass_tokens"),
        Readout("beside_fc", "fc_untrained", "fc_brainmass"),
        Readout("projection", "untrained_projection", "brainmass_projection"),
    ),
    explains=("attention", "gradient", "permutation"),
    knobs=(
        "size",
        "heads",
        "train_heads",
        "ema_decay",
        "lambda_classification",
        "lambda_reconstruction",
        "n_masked_classification",
        "n_masked_reconstruction",
        "masking",
        "fisher_z",
        "passes",
    ),
    commands={
        "import-official": f"{HERE}.commands:import_official",
        "export-official": f"{HERE}.commands:export_official",
    },
    pages=PAGES,
)
