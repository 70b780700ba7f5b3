"""What the released code of BrainLM calls the tensors of our models."""

from __future__ import annotations

import re
from collections.abc import Mapping

from brainmass_core.encoders.brainlm.model import BrainLM
from brainmass_core.encoders.brainlm.vit import BrainLMViT

THIRDS = ("query", "key", "value")

# ours to theirs, beginning of a name
PARTS = {
    "cls_token": "vit.embeddings.cls_token",
    "norm": "vit.layernorm",
    "layers": "vit.encoder.layer",
    "decoder.embed": "decoder.decoder_embed",
    "decoder.mask_token": "decoder.mask_token",
    "decoder.layers": "decoder.decoder_layers",
    "decoder.norm": "decoder.decoder_norm",
}
PARTS_13M = PARTS | {
    "signal": "vit.embeddings.signal_embedding_projection",
    "places.xyz": "vit.embeddings.xyz_embedding_projection",
    "decoder.places.xyz": "decoder.decoder_xyz_projection",
    "decoder.head.0": "decoder.decoder_pred1",
    "decoder.head.2": "decoder.decoder_pred2",
}
PARTS_VIT = PARTS | {
    "embed": "vit.embeddings.patch_embeddings.projection",
    "decoder.head": "decoder.decoder_pred",
}
LAYER = {"linear_1": "intermediate.dense", "linear_2": "output.dense"}
LAYER_13M = LAYER | {
    "attention.qkv": "attention.self.{third}",
    "attention.taps": "attention.self.conv.weight",
    "attention.out": "attention.output.dense",
    "norm_1": "attention.output.LayerNorm",
    "norm_2": "output.LayerNorm",
}
LAYER_VIT = LAYER | {
    "attention.qkv": "attention.attention.{third}",
    "attention.out": "attention.output.dense",
    "norm_1": "layernorm_before",
    "norm_2": "layernorm_after",
}


def official_names(name: str, model: BrainLM | BrainLMViT) -> list[str]:
    """Names in the released code of one of our tensors: three where ours joins q, k and v."""
    vit = isinstance(model, BrainLMViT)
    parts, layer = (PARTS_VIT, LAYER_VIT) if vit else (PARTS_13M, LAYER_13M)
    inside = re.fullmatch(r"((?:decoder\.)?layers)\.(\d+)\.(.+)", name)
    if inside:
        start, number, rest = inside.groups()
        theirs = f"{parts[start]}.{number}.{_renamed(rest, layer)}"
    else:
        theirs = _renamed(name, parts)
    if "{third}" in theirs:
        return [theirs.format(third=third) for third in THIRDS]
    return [theirs]


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for ours, theirs in names.items():
        if name == ours or name.startswith(ours + "."):
            return theirs + name.removeprefix(ours)
    raise KeyError(name)
