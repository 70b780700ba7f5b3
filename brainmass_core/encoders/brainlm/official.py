"""Checkpoints of the released BrainLM models, read.

A folder holds ``config.json`` and the tensors, in ``model.safetensors`` or ``pytorch_model.bin``.
Two architectures carry the name; the configuration tells which one a folder holds.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from brainmass_core import __version__
from brainmass_core.encoders.brainlm import model as brainlm
from brainmass_core.encoders.brainlm import vit as brainlm_vit
from brainmass_core.encoders.brainlm.layers import EPS, TAPS
from brainmass_core.encoders.brainlm.model import COORDINATE_SCALE, BrainLM
from brainmass_core.encoders.brainlm.official_names import official_names
from brainmass_core.encoders.brainlm.vit import BrainLMViT
from brainmass_core.models.pretrained import SETTINGS, WEIGHTS, ModelError, other_weights
from brainmass_core.models.tokens import sinusoid_1d, sinusoid_2d
from brainmass_core.models.weights import (
    check_dense,
    check_plain,
    check_sizes,
    of_tensors,
    only_tensors,
    plain_names,
    read_checkpoint,
    refuse_other_names,
    skeleton,
    stored_tensors,
)
from brainmass_core.readers.files import FileError
from brainmass_core.readers.sidecar import read_object
from brainmass_core.tables import atomic_path

log = logging.getLogger(__name__)
LICENCE = "CC-BY-NC-ND-4.0"  # of the published weights
FILES = (WEIGHTS, "pytorch_model.bin")
REMEDY = "give the folder of one published model: config.json with model.safetensors or " + FILES[1]
SIZE_KEYS = {  # fields of both sizes: entries of config.json
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "feedforward": "intermediate_size",
    "decoder_depth": "decoder_num_hidden_layers",
    "decoder_heads": "decoder_num_attention_heads",
    "decoder_feedforward": "decoder_intermediate_size",
}
FIXED = {"hidden_act": "gelu", "layer_norm_eps": EPS, "qkv_bias": True, "norm_pix_loss": False}
FIXED_13M = FIXED | {"conv_kernel_size": TAPS, "use_tanh_decoder": False}
FIXED_VIT = FIXED | {"num_channels": brainlm_vit.CHANNELS}
# never used by the 13M model, which inherits it from a vision transformer
UNUSED_13M = ("decoder.decoder_pred.weight", "decoder.decoder_pred.bias")

CARD = """---
license: {licence_tag}
---
# BrainLM, imported

Weights of `{source}` (SHA-256 `{sha256}`), a checkpoint of the released BrainLM code, as {kind}
{size_text}, {n_parameters:,} parameters, mode {mode}.

Licence of these weights: **{licence}**. The published ones are for non-commercial use, with
attribution to their authors (github.com/vandijklab/BrainLM), and adapted ones may not be shared:
train your own for anything else.

{note} Input: series of {window}, scaled parcel by parcel to a robust unit; the medians and quartile
ranges of the authors' data were never published. What else it was trained on is not known to this
file. Imported by brainmass {version}.
"""
NOTES = {
    ("brainlm", "corrected"): "Tokens enter in natural order, so that an embedding is "
    "reproducible; weights of the coordinates are multiplied by 60, which makes them those of "
    "coordinates divided by it.",
    ("brainlm", "reference"): "Tokens enter in random order, as released: two embeddings of one "
    "series differ.",
    ("brainlm-vit", "reference"): "Patches of padding are tokens, as in its training.",
    ("brainlm-vit", "corrected"): "Patches of padding are left out, which its training did not do.",
}


def is_vit(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of the vision transformer (111M, 650M).

    Raises
    ------
    ModelError
        If it is of neither architecture.
    """
    missing = [key for key in SIZE_KEYS.values() if key not in config]
    if missing:
        raise ModelError(f"found a configuration without {', '.join(missing)}; {REMEDY}")
    if "timepoint_patching_size" in config:
        return False
    if "patch_size" in config:
        return True
    raise ModelError(
        f"found a configuration with neither timepoint_patching_size nor patch_size; {REMEDY}"
    )


def model_of(config: Mapping[str, Any], mode: str | None = None) -> BrainLM | BrainLMViT:
    """A model with random weights of a released configuration.

    Parameters
    ----------
    mode : str, optional
        Default: ``corrected`` for the 13M model, whose weights it leaves their meaning;
        ``reference`` for the vision transformer, which was trained with padding among its tokens.

    Raises
    ------
    ModelError
        If a setting is one that the released weights do not have.
    """
    vit = is_vit(config)
    size = {ours: config[theirs] for ours, theirs in SIZE_KEYS.items()}
    fixed = dict(FIXED_VIT if vit else FIXED_13M)
    if not vit:
        # unequal, the released layer would approximate its softmax
        fixed["num_landmarks"] = config.get("segment_means_seq_len")
        fixed["decoder_hidden_size"] = config["hidden_size"]
    wrong = [
        f"{k} {config[k]!r}, expected {v!r}" for k, v in fixed.items() if config.get(k, v) != v
    ]
    if wrong:
        raise ModelError(f"found a configuration with {'; '.join(wrong)}: no published model")
    if vit:
        size |= {"patch": config["patch_size"], "decoder_width": config["decoder_hidden_size"]}
        return BrainLMViT(_named(size, brainlm_vit), mode or "reference")
    size |= {"patch": config["timepoint_patching_size"]}
    return BrainLM(_named(size, brainlm), mode or "corrected")


def from_official(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], mode: str | None = None
) -> BrainLM | BrainLMViT:
    """Build a model from the tensors of a released checkpoint.

    Parameters
    ----------
    config : mapping
        Content of the checkpoint's configuration file.
    tensors : mapping of str to Tensor
        Names and shapes as in the checkpoint.
    mode : {"corrected", "reference"}, optional
        As in `model_of`.

    Returns
    -------
    BrainLM or BrainLMViT

    Raises
    ------
    ModelError
        If tensors are missing, too many, or of other shapes than the configuration says.
    """
    is_vit(config)  # says what is missing
    given = {theirs: config[theirs] for theirs in SIZE_KEYS.values()}
    others = ("patch_size", "decoder_hidden_size", "timepoint_patching_size")
    given |= {name: config[name] for name in others if name in config}
    tensors = plain_names("checkpoint", tensors)
    check_plain("checkpoint", tensors)
    found = of_tensors(tensors)
    check_sizes(SETTINGS, given, found)
    model = skeleton(SETTINGS, lambda: model_of(config, mode))
    assert isinstance(model, BrainLM | BrainLMViT)
    _check_names(model, tensors)
    _check_shapes(model, tensors)
    weights = {theirs for name in model.state_dict() for theirs in official_names(name, model)}
    check_dense("checkpoint", tensors, weights)
    model = model_of(config, mode)
    _check_positions(model, tensors)
    ours: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        parts = [tensors[theirs] for theirs in official_names(name, model)]
        ours[name] = torch.cat([t.float() for t in parts]).reshape(tensor.shape)
        if name.endswith("places.xyz.weight") and not model.is_reference:
            ours[name] = ours[name] * COORDINATE_SCALE
    model.load_state_dict(ours)
    return model.eval().requires_grad_(False)


def _check_shapes(model: BrainLM | BrainLMViT, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in model.state_dict().items():
        names = official_names(name, model)
        shapes = [tuple(tensors[theirs].shape) for theirs in names]
        rest = {shape[1:] for shape in shapes}
        if sum(map(math.prod, shapes)) != tensor.numel() or len(rest) > 1:
            raise ModelError(
                f"{' and '.join(names)}: found {', '.join(map(str, shapes))}, expected the "
                f"numbers of {tuple(tensor.shape)}; config.json is of another model"
            )


def _named(size: dict[str, int], module: Any) -> str | dict[str, int]:
    """The name of a published size, or the size itself."""
    names = [n for n, s in module.SIZES.items() if n != "tiny" and s == type(s)(**size)]
    return names[0] if names else size


def _fixed_tables(model: BrainLM | BrainLMViT) -> Iterator[tuple[str, bool]]:
    """Names of the tables of positions, and whether the encoder's."""
    if isinstance(model, BrainLMViT):
        yield from (
            ("vit.embeddings.position_embeddings", True),
            ("decoder.decoder_pos_embed", False),
        )
    else:
        yield from (("vit.embeddings.pos_embedding.pe", True), ("decoder.pos_embedding.pe", False))


def _check_names(model: BrainLM | BrainLMViT, tensors: Mapping[str, Tensor]) -> None:
    wanted = {theirs for name in model.state_dict() for theirs in official_names(name, model)}
    extra = {name for name, _ in _fixed_tables(model)}
    if isinstance(model, BrainLM):
        extra |= set(UNUSED_13M)
    refuse_other_names(wanted - set(tensors), set(tensors) - wanted - extra, REMEDY)


def _check_positions(model: BrainLM | BrainLMViT, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tables of positions other than those that are worked out here."""
    for name, is_encoder in _fixed_tables(model):
        if name not in tensors:
            continue
        found = tensors[name].float().squeeze(0)
        if isinstance(model, BrainLMViT):
            width = model.shape.width if is_encoder else model.shape.decoder_width
            side = round((len(found) - 1) ** 0.5)
            expected = torch.cat([torch.zeros(1, width), sinusoid_2d(side, width)])
        else:
            expected = sinusoid_1d(len(found), model.shape.width)
        if found.shape != expected.shape or (found - expected).abs().max() > 1e-3:
            raise ModelError(f"{name}: found other positions than sines and cosines; {REMEDY}")


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], Path]:
    """Configuration, tensors and file of a released checkpoint.

    Parameters
    ----------
    folder : Path
        Folder with the configuration and the weights.

    Returns
    -------
    config : dict
    tensors : dict of Tensor
        Shapes and names as in the file.
    file : Path
        File of the weights.

    Raises
    ------
    ModelError
        If files are missing, or hold anything else.
    """
    settings = folder / SETTINGS
    file = next((folder / name for name in FILES if (folder / name).exists()), None)
    if file is None or not settings.exists():
        missing = settings if file else folder / " or ".join(FILES)
        found = "" if file else other_weights(folder)
        raise ModelError(f"{missing}: no such file{found}; {REMEDY}")
    if file.name == WEIGHTS and (folder / FILES[1]).exists():
        log.warning("%s: read; %s beside it is not looked at", file, FILES[1])
    try:
        config = read_object(settings)
        if file.name == WEIGHTS:
            stored_tensors(file)  # says what is wrong with the file
            tensors = load_file(file)
        else:
            tensors = read_checkpoint(file)
    except (ModelError, FileError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot be read safely ({error}); {REMEDY}") from None
    if not isinstance(tensors, dict):
        raise ModelError(f"{folder}: found no configuration and tensors; {REMEDY}")
    only_tensors(str(file), tensors, REMEDY)
    return config, tensors, file


def import_brainlm(
    source: Path, folder: Path, mode: str | None = None, licence: str = LICENCE
) -> BrainLM | BrainLMViT:
    """Write a released checkpoint as a folder that `from_pretrained` reads.

    Parameters
    ----------
    licence : str
        Of the weights; stands in the card and in ``config.json``.

    Raises
    ------
    ModelError
        If the source is no released checkpoint, or the folder holds a model already.
    """
    if (folder / WEIGHTS).exists():
        raise ModelError(f"{folder}: holds a model already; give another folder, or remove it")
    config, tensors, file = read_folder(source)
    try:
        model = from_official(config, tensors, mode)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from None
    vit = isinstance(model, BrainLMViT)
    about = {
        "model": "brainlm-vit" if vit else "brainlm",
        "embedding_dim": model.embedding_dim,
        "licence": licence,
        "source": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "version": __version__,
    }
    with atomic_path(folder / "README.md") as path:
        path.write_text(_card(model, about))
    model.save_pretrained(folder, about)
    return model


def _card(model: BrainLM | BrainLMViT, about: Mapping[str, Any]) -> str:
    vit = isinstance(model, BrainLMViT)
    return CARD.format(
        **about,
        licence_tag=str(about["licence"]).lower(),
        kind="BrainLMViT" if vit else "BrainLM",
        size_text=model.size if isinstance(model.size, str) else f"of another size {model.size}",
        n_parameters=sum(p.numel() for p in model.parameters()),
        mode=model.mode,
        note=NOTES[about["model"], model.mode],
        window="any length" if vit else f"a multiple of {model.shape.patch} timepoints",
    )
