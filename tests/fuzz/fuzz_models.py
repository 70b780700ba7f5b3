"""Readers of models: own folders, checkpoints, released checkpoints, deployed models."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fuzz_binary
import fuzz_text
import numpy as np
import torch
from fuzz_contract import contract
from fuzz_judge import Files, Reader, Seed
from fuzz_results import seal_json
from safetensors.torch import save
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from brainmass_core.config import parse_config
from brainmass_core.encoders.brainlm import official as brainlm_official
from brainmass_core.encoders.brainlm.model import BrainLM
from brainmass_core.encoders.brainmass import official
from brainmass_core.encoders.brainmass.model import BrainMass
from brainmass_core.finetune.methods.fitting import Fitted
from brainmass_core.models.pretrained import ModelError
from brainmass_core.predict import Contract, Model
from brainmass_core.predict.contract import ContractError
from brainmass_core.predict.deploy import write_model
from brainmass_core.predict.model import probe
from brainmass_core.pretrain.loop.checkpoint import Checkpoints, State

SMALL = {"width": 8, "depth": 1, "heads": 2, "feedforward": 8, "decoder_depth": 1}
SMALL |= {"decoder_heads": 2, "decoder_feedforward": 8, "patch": 20}
RELEASED = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 8,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "timepoint_patching_size": 20,
    "decoder_hidden_size": 8,
    "conv_kernel_size": 65,
    "num_landmarks": 64,
    "segment_means_seq_len": 64,
}


def _folder(path: Path) -> Files:
    return {p.name: p.read_bytes() for p in sorted(path.iterdir()) if p.suffix != ".md"}


def _tiny() -> BrainMass:
    torch.manual_seed(0)
    return BrainMass("tiny", 5, 1)


def _pretrained() -> list[Seed]:
    seeds = []
    torch.manual_seed(0)
    for model in (_tiny(), BrainLM(SMALL)):
        with TemporaryDirectory() as name:
            model.save_pretrained(name, {"atlas": "a", "estimator": "pearson"})
            files = _folder(Path(name))
            seeds.append(Seed(files, tuple(files)))
    return seeds


def _read_pretrained(folder: Path, _: str) -> Any:
    brainlm = b"patch" in (folder / "config.json").read_bytes()
    model = (BrainLM if brainlm else BrainMass).from_pretrained(folder)
    return model.state_dict(), {n: getattr(model, n) for n in model.ARGUMENTS}


def _same_weights(a: Any, b: Any) -> bool:
    """Whether two trees of tensors are equal."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same_weights(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same_weights, a, b))
    return a == b


def _official() -> list[Seed]:
    tensors = official.to_official(_tiny())
    out, old = io.BytesIO(), io.BytesIO()
    torch.save({"model": tensors}, out)
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    return [
        Seed({"m.pth": out.getvalue()}, ("m.pth",)),
        Seed({"o.pth": old.getvalue()}, ("o.pth",)),
    ]


def _import_official(folder: Path, name: str) -> Any:
    with TemporaryDirectory() as made:
        return official.import_official(
            folder / name, Path(made) / "m", "a", "pearson", 1
        ).state_dict()


def _released() -> list[Seed]:
    torch.manual_seed(0)
    model = BrainLM(SMALL, "corrected")
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        names = brainlm_official.official_names(name, model)
        parts = tensor.detach().chunk(len(names))
        tensors |= {n: p.contiguous() for n, p in zip(names, parts, strict=True)}
    config, out = json.dumps(RELEASED).encode(), io.BytesIO()
    torch.save(tensors, out)
    one = {"config.json": config, "model.safetensors": save(tensors)}
    two = {"config.json": config, "pytorch_model.bin": out.getvalue()}
    return [Seed(one, tuple(one)), Seed(two, tuple(two))]


def _import_released(folder: Path, _: str) -> Any:
    with TemporaryDirectory() as made:
        return brainlm_official.import_brainlm(folder, Path(made) / "m").state_dict()


def _checkpoints(folder: Path) -> Checkpoints:
    raw = {"kind": "bids", "role": "internal", "path": "."}
    config = parse_config({"results": str(folder), "datasets": {"x": raw}})
    found = Checkpoints(config, "f" * 64)
    found.folder = folder
    return found


def _states() -> list[Seed]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    state = State(
        3,
        9,
        2,
        model.state_dict(),
        optimiser.state_dict(),
        torch.zeros(3, 2, dtype=torch.float64),
        {"c": torch.ones(2)},
    )
    with TemporaryDirectory() as name:
        made = _checkpoints(Path(name))
        made.config_hash = "h"
        made.save(state)
        # the name of the temporary file is written too, and differs from run to run
        same = re.compile(rb"(?<=step-000000003\.pt\.)\w{8}")
        files = {p.name: same.sub(b"x" * 8, p.read_bytes()) for p in Path(name).glob("*.pt")}
    return [Seed(files, tuple(files))]


def _latest(folder: Path, _: str) -> Any:
    found = _checkpoints(folder)
    found.config_hash = "h"
    state = found.latest()
    return None if state is None else state.__dict__


def _deployed() -> list[Seed]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 6)), rng.integers(0, 2, 20)
    one = _written(
        contract("abcd"), make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y), None
    )
    encoder = _tiny().eval().requires_grad_(False)
    about = {"size": "tiny", "n_rois": 5, "heads": 1}
    x = rng.standard_normal((20, encoder.embedding_dim))
    fitted = LogisticRegression().fit(x, y)
    two = _written(contract("abcde", features="brainmass", encoder=about), fitted, encoder)
    return [
        Seed(files, ("contract.json", "estimator.json", "model.safetensors"))
        for files in (one, two)
    ]


def _written(made: Contract, estimator: Any, encoder: BrainMass | None) -> Files:
    model = Model(made, Fitted("classification", estimator, None, None, np.arange(20)), encoder)
    made = made.model_copy(update={"probe": probe(model)})
    with TemporaryDirectory() as name:
        write_model(Path(name), Model(made, model.fitted, encoder))
        return _folder(Path(name))


def _score(folder: Path, _: str) -> Any:
    model = Model.load(folder)
    n = model.contract.n_edges
    seen = np.random.default_rng(1).uniform(-0.5, 0.5, (2, n)).astype(np.float32)
    return model.contract, model.score(seen)["y_score"].tolist()


def seal_deployed(files: Files) -> None:
    """Recompute the checksums of a deployed model."""
    for name in ("estimator.json", "model.safetensors"):
        seal_json("contract.json", **{f"files/{name}": name})(files)


def seal_model(files: Files) -> None:
    """Recompute the checksums of a model folder."""
    seal_json("config.json", weights_sha256="model.safetensors")(files)


JSON, WEIGHTS = [fuzz_text.json_value], [fuzz_binary.safetensors]
READERS = (
    Reader(
        "model_folder",
        _pretrained,
        _read_pretrained,
        (ModelError,),
        {".json": JSON, ".safetensors": WEIGHTS},
        same=_same_weights,
        sealed=seal_model,
        covered=True,
    ),
    Reader(
        "official",
        _official,
        _import_official,
        (ModelError,),
        {".pth": [fuzz_binary.torch_file]},
    ),
    Reader(
        "brainlm_official",
        _released,
        _import_released,
        (ModelError,),
        {".json": JSON, ".safetensors": WEIGHTS, ".bin": [fuzz_binary.torch_file]},
    ),
    Reader(
        "checkpoint",
        _states,
        _latest,
        (),
        {".pt": [fuzz_binary.torch_file]},
        same=_same_weights,
    ),
    Reader(
        "deployed",
        _deployed,
        _score,
        (ContractError,),
        {".json": JSON, ".safetensors": WEIGHTS},
        same=lambda a, b: a == b,
        sealed=seal_deployed,
        covered=True,
    ),
)
