"""Read and write checkpoints of the authors' released BrainMass code.

Their file is a pickled dictionary: ``model`` holds all tensors, and two more entries repeat those
of the online and of the target network. A file of the online network alone, all that their
evaluation loads, is read too. Reading executes no code from the pickle.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from brainmass_core import __version__
from brainmass_core.config.sections import Connectivity
from brainmass_core.encoders.brainmass.model import BrainMass, build, parameter_counts
from brainmass_core.encoders.brainmass.network import SIZES, Size
from brainmass_core.models.pretrained import WEIGHTS, ModelError
from brainmass_core.models.weights import (
    check_dense,
    check_plain,
    only_tensors,
    plain_names,
    read_checkpoint,
    refuse_other_names,
    skeleton,
)
from brainmass_core.readers.limits import quoted
from brainmass_core.tables import atomic_path

log = logging.getLogger(__name__)

NAMES = {  # prefixes of names: ours, theirs
    "online.layers.": "online_network.attention_list.",
    "online.readout.": "online_network.dim_reduction.",
    "online.projector.": "online_network.g.net.",
    "target.layers.": "target_network.attention_list.",
    "target.readout.": "target_network.dim_reduction.",
    "target.projector.": "target_network.g.net.",
    "predictor.": "predictor.net.",
    "classification_head.": "cpred.",
    "reconstruction_head.": "gpred.",
    "mask_token": "mask_embed",
    "cls_token": "cls_token",
    "dist_token": "dist_token",
}
UNUSED = ("norm.weight", "norm.bias")  # a layer norm that their forward pass never calls
ONLINE = "online_network"
REMEDY = "give a file written by the released code's save_model (best_model.pth, last_model.pth)"

CARD = """# BrainMass, imported

Weights of `{source}` (SHA-256 `{sha256}`), a checkpoint of the authors' released code: size {size},
{n_rois} ROIs, {heads} attention heads. Its training data are not known.

| parameters | |
| --- | --- |
| encoder and readout, used for embeddings | {deployed:,} |
| as counted in the paper | {paper:,} |

FC expected: {estimator}, atlas {atlas}{z}. Imported by brainmass {version}.{alone}
"""
ALONE = """

The file contained the online network alone, which is what computes embeddings. The target network
is its copy; heads, predictor and tokens have initial values, so training cannot be continued."""


def official_name(name: str) -> str:
    """Name in the released code of one of our tensors."""
    for ours, theirs in NAMES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise KeyError(name)


def from_official(
    tensors: Mapping[str, Tensor], heads: int | None = None, fisher_z: bool = False
) -> BrainMass:
    """Build a model from the tensors of a released checkpoint.

    If they are those of the online network alone, the target network becomes its copy, and heads,
    predictor and tokens, which no embedding depends on, keep initial values.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Tensors by name; the prefixes ``module.`` of data-parallel training and ``_orig_mod.`` of
        torch.compile are removed.
    heads : int, optional
        Attention heads, which cannot be inferred from the tensors. Default: that of the size.
    fisher_z : bool
        Whether the model was trained on FC transformed by Fisher z.

    Raises
    ------
    ModelError
        If tensors are missing or unexpected, or their shapes match no size.
    """
    found = plain_names("checkpoint", tensors)
    check_plain("checkpoint", found)
    _refuse_projection(found)
    size, n_rois = size_of(found)
    try:  # on the meta device, without memory: the shapes may be absurd
        expected = skeleton("checkpoint", lambda: BrainMass(size, n_rois, heads)).state_dict()
    except ModelError as error:
        raise ModelError(str(error).replace("set pretrain.heads", "set --heads")) from None
    alone = is_online_alone(found)
    wanted = {official_name(name): name for name in expected}
    wanted = {theirs: n for theirs, n in wanted.items() if not alone or theirs.startswith(ONLINE)}
    refuse_other_names(set(wanted) - set(found), set(found) - set(wanted) - set(UNUSED), REMEDY)
    ours = {name: found[theirs] for theirs, name in wanted.items()}
    shapes = {name: tuple(t.shape) for name, t in expected.items()}
    wrong = [
        f"{official_name(n)} has the shape {tuple(t.shape)}, expected {shapes[n]}"
        for n, t in ours.items()
        if tuple(t.shape) != shapes[n]
    ]
    if wrong:
        raise ModelError(f"{'; '.join(wrong[:5])}: {REMEDY}")
    floating = {theirs for theirs, n in wanted.items() if expected[n].is_floating_point()}
    check_dense("checkpoint", found, floating)
    model = build(size, n_rois, 0, heads, fisher_z=fisher_z)
    model.load_state_dict(ours, strict=not alone)
    if alone:
        model.target.load_state_dict(model.online.state_dict())
    return model.eval().requires_grad_(False)


def _refuse_projection(tensors: Mapping[str, Tensor]) -> None:
    """Refuse the network of the code of 2026 that projects FC to another width."""
    weight = tensors.get(f"{ONLINE}.proj.weight")
    if weight is not None:
        raise ModelError(
            f"found {ONLINE}.proj.weight of shape {tuple(weight.shape)}, a projection of FC before "
            "the first layer; the tokens of the models here are rows of FC, so expected a "
            "checkpoint without it"
        )


def is_online_alone(tensors: Mapping[str, Tensor]) -> bool:
    """Whether all tensors of a checkpoint are of the online network."""
    return all(name.startswith(f"{ONLINE}.") for name in plain_names("checkpoint", tensors))


def to_official(model: BrainMass) -> dict[str, Tensor]:
    """All tensors with the names of the released code, including its unused layer norm.

    Returns
    -------
    dict of Tensor
        Shapes as in the model; ``norm.weight`` and ``norm.bias`` are (n_rois,).
    """
    tensors = {official_name(n): t.detach().cpu() for n, t in model.state_dict().items()}
    n = model.n_rois
    return tensors | {"norm.weight": torch.ones(n), "norm.bias": torch.zeros(n)}


def size_of(tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """Infer size and number of ROIs from the shapes of the tensors.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Names as in the released code.

    Returns
    -------
    str
        Name of the size.
    int
        Number of ROIs.

    Raises
    ------
    ModelError
        If they match no known size.
    """
    layer = re.compile(r"online_network\.attention_list\.(\d+)\.")
    depth = len({m.group(1) for name in tensors if (m := layer.match(name))})
    try:
        feedforward, n_rois = tensors["online_network.attention_list.0.linear1.weight"].shape
        feature_dim = tensors["online_network.g.net.3.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise ModelError(f"found no tensors of a released BrainMass ({error}); {REMEDY}") from None
    for name, size in SIZES.items():
        if (size.depth, size.feedforward, size.feature_dim) == (depth, feedforward, feature_dim):
            return name, n_rois
    found = Size(depth, 0, feedforward, feature_dim)
    known = ", ".join(f"{k} {v.depth}/{v.feedforward}/{v.feature_dim}" for k, v in SIZES.items())
    raise ModelError(
        f"found a model of depth {found.depth}, feed-forward width {found.feedforward} and feature "
        f"width {found.feature_dim}, expected one of: {known}"
    )


def read_official(path: Path) -> dict[str, Tensor]:
    """The tensors of a released checkpoint.

    Returns
    -------
    dict of Tensor
        Names and shapes as in the file.

    Raises
    ------
    ModelError
        If it cannot be read, or contains anything other than tensors.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such checkpoint")
    try:
        content = read_checkpoint(path)
    except ModelError as error:
        raise ModelError(f"{error}; {REMEDY}") from None
    tensors = content.get("model", content) if isinstance(content, dict) else content
    online = content.get(f"{ONLINE}_state_dict") if isinstance(content, dict) else None
    if tensors is content and online and isinstance(online, dict):
        only_tensors(str(path), online, REMEDY)
        if rest := sorted(str(name)[:50] for name in content if name != f"{ONLINE}_state_dict"):
            log.warning("%s: only %s_state_dict is read, not %s", path, ONLINE, ", ".join(rest))
        return {f"{ONLINE}.{n}": t for n, t in plain_names(str(path), online).items()}
    if not isinstance(tensors, dict):
        kind = type(tensors).__name__
        raise ModelError(f"{path}: found {kind}, expected a dictionary of tensors; {REMEDY}")
    only_tensors(str(path), tensors, REMEDY)
    if tensors is not content:
        _refuse_contradictions(path, plain_names(str(path), tensors), content)
    return tensors


def _refuse_contradictions(
    path: Path, tensors: Mapping[str, Tensor], content: Mapping[str, object]
) -> None:
    """The online and the target network, which are there twice, are the same in both places."""
    for part in ("online_network", "target_network"):
        again = content.get(f"{part}_state_dict")
        again = plain_names(str(path), again) if isinstance(again, Mapping) else {}
        for name, tensor in again.items():
            one = tensors.get(f"{part}.{name}", tensor)
            check_plain(str(path), {f"{part}.{name}": one, f"{part}_state_dict {name}": tensor})
            if not torch.equal(one.double(), tensor.double()):  # of any type
                raise ModelError(
                    f"{path}: {part}.{name} has other numbers under model than under "
                    f"{part}_state_dict; {REMEDY}"
                )


def import_official(
    path: Path,
    folder: Path,
    atlas: str,
    estimator: str,
    heads: int | None = None,
    fisher_z: bool = False,
) -> BrainMass:
    """Write a released checkpoint as a folder that `BrainMass.from_pretrained` reads.

    Parameters
    ----------
    atlas, estimator : str
        Atlas and estimator of the FC that it was trained on; tasks with other FC are refused.
    heads, fisher_z
        See `from_official`.

    Raises
    ------
    ModelError
        If the file is not a released checkpoint, or the folder already contains a model.
    """
    if (folder / WEIGHTS).exists():
        raise ModelError(f"{folder}: holds a model already; give another folder, or remove it")
    known = get_args(Connectivity.model_fields["estimator"].annotation)
    if estimator not in known:
        raise ModelError(f"estimator: found {quoted(estimator)}, expected {' or '.join(known)}")
    tensors = read_official(path)
    try:
        model = from_official(tensors, heads, fisher_z)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    found = plain_names(str(path), tensors)
    if any(not torch.equal(found[n], t) for n, t in _unused(model).items() if n in found):
        log.warning("%s: its layer norm, which the released code never uses, is omitted", path)
    about = {
        "model": "brainmass",
        "size": model.size,
        "n_rois": model.n_rois,
        "heads": model.heads,
        "embedding_dim": model.embedding_dim,
        "atlas": atlas,
        "estimator": estimator,
        "source": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "version": __version__,
    }
    texts = {
        "alone": ALONE if is_online_alone(tensors) else "",
        "z": "; the encoder transforms it by Fisher z" if fisher_z else "",
    }
    with atomic_path(folder / "README.md") as file:
        file.write_text(CARD.format(**about, **parameter_counts(model), **texts))
    model.save_pretrained(folder, about)
    return model


def _unused(model: BrainMass) -> dict[str, Tensor]:
    return {name: to_official(model)[name] for name in UNUSED}


def export_official(folder: Path, path: Path) -> None:
    """Write a model's folder as a checkpoint that the released code loads.

    That code is written for 100 ROIs; models of other atlases keep their shapes.

    Raises
    ------
    ModelError
        If the folder holds no usable model, or one of FC transformed by Fisher z, which the
        released code does not do.
    """
    model = BrainMass.from_pretrained(folder)
    if model.fisher_z:
        raise ModelError(
            f"{folder}: found fisher_z true; the released code gives a model FC itself, so its "
            "embeddings would be wrong; export a model that was trained with pretrain.fisher_z "
            "false"
        )
    tensors = to_official(model)
    parts = {
        f"{name}_state_dict": {
            k.removeprefix(f"{name}."): t for k, t in tensors.items() if k.startswith(f"{name}.")
        }
        for name in ("online_network", "target_network")
    }
    with atomic_path(path) as file:
        content = BytesIO()  # torch reports a full disk as a RuntimeError without a reason
        torch.save({"model": tensors, **parts}, content)
        file.write_bytes(content.getbuffer())
