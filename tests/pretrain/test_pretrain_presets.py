"""Presets of the published settings: each choice is written out."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
import yaml

from brainmass_core.config import Config, parse_config
from brainmass_core.config.load import PRESETS_DIR
from brainmass_core.config.sections import BrainLM, Pretrain
from brainmass_core.config.yaml_file import read_yaml
from brainmass_core.encoders.brainlm.pretraining import BrainLMSpec, meta_model
from brainmass_core.pretrain.data.windows import WindowBatch
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.schedule import learning_rate
from brainmass_core.pretrain.loop.step import make_optimiser, train_step
from brainmass_core.pretrain.loop.train import build_model

# how a run is carried out, not what it computes; `lr_end` is that of schedules not in use, and
# `brainlm` is of other models
LEFT_TO_THE_USER = {
    "brainlm",
    "checkpoint_steps",
    "nodes",
    "processes_per_node",
    "compile",
    "lr_end",
    "source",
}
BOTH = {
    "dropout": 0.1,
    "masking": "rows",
    "fisher_z": False,
    "passes": "separate",
    "n_masked_classification": 10,
    "n_masked_reconstruction": 5,
    "epochs": 2000,
    "batch_size": 256,
    "lr": 3e-4,
    "warmup_epochs": 10,
    "schedule": "constant",
    "weight_decay": 5e-5,
    "clip_value": 1.0,
    "ema_decay": 0.996,
    "precision": "float32",
}
RELEASED = BOTH | {
    "size": "base",
    "heads": 10,
    "train_heads": False,
    "lambda_classification": 0.1,
    "lambda_reconstruction": 2.0,
}
LARGE = BOTH | {
    "size": "large",
    "heads": 20,
    "train_heads": True,
    "lambda_classification": 5.0,
    "lambda_reconstruction": 200.0,
}
RELEASE_2 = RELEASED | {
    "size": "release-2",
    "heads": None,
    "fisher_z": True,
    "batch_size": 64,
}
DATASETS = {"a": {"kind": "timeseries", "role": "pretrain", "path": "."}}
CASES = [
    ("official-release", RELEASED, "ledoit_wolf", None),
    ("paper-large", LARGE, "pearson", None),
    ("release-2", RELEASE_2, "ledoit_wolf", 60),
]
PRESETS = pytest.mark.parametrize(("name", "expected", "estimator", "window"), CASES)


@PRESETS
def test_a_preset_sets_what_was_published(name, expected, estimator, window):
    raw = {"presets": [f"brainmass/{name}"], "datasets": DATASETS}
    config = parse_config(raw, check_paths=False)
    found = config.pretrain.model_dump()
    assert {k: found[k] for k in expected} == expected
    assert config.pfc.estimator == config.connectivity.estimator == estimator
    dropping = "what is left after dropping 20% of the timepoints"
    assert config.pfc.dropping == (f"a window of {window} timepoints" if window else dropping)


@PRESETS
def test_a_preset_writes_every_choice_out_so_that_no_default_can_change_it(
    name, expected, estimator, window
):
    written = read_yaml(PRESETS_DIR / "brainmass" / f"{name}.yaml")
    missing = set(Pretrain.model_fields) - LEFT_TO_THE_USER - set(written["pretrain"])
    assert not missing, f"{name}.yaml must say what it wants of {missing}"
    assert {k: written["pretrain"][k] for k in expected} == expected
    assert written["pfc"] == {
        "estimator": estimator,
        "drop_rate": 0.2,
        "drop_count": None,
        "window": window,
    }
    assert written["connectivity"] == {"estimator": estimator}


def test_a_user_may_change_a_single_setting_of_a_preset():
    changed = {"size": "large", "heads": 20}
    raw = {"presets": ["brainmass/official-release"], "datasets": DATASETS, "pretrain": changed}
    config = parse_config(raw, check_paths=False)
    assert (config.pretrain.size, config.pretrain.train_heads) == ("large", False)


@pytest.mark.parametrize(("n_rois", "heads"), [(156, 12), (100, 10), (116, 4), (13, 1)])
def test_release_2_is_a_model_of_any_atlas(n_rois, heads):
    raw = {"presets": ["brainmass/release-2"], "datasets": DATASETS}
    config = parse_config(raw, check_paths=False)
    with torch.device("meta"):
        model = build_model(config, n_rois)
    assert model.heads == heads
    assert len(model.online.layers) == 8
    assert model.online.layers[0].linear1.weight.shape == (1024, n_rois)
    assert model.online.projector[3].weight.shape == (512, 16 * n_rois)
    assert model.predictor[3].weight.shape == (512, 1024)
    assert model.fisher_z


# ---- BrainLM (spec, sections 3 and 5)

SIZES = ("13m", "111m", "650m")
N_PARCELS, N_RECORDINGS = 424, 61_038  # of the paper
OF_PAPER = {"epochs": 100, "batch_size": 512, "weight_decay": 0.0}  # Adam: no decay
OF_RELEASED = {
    "lr": 1e-3 * 512 / 256,
    "warmup_epochs": 5,  # 5 %
    "schedule": "cosine",
    "lr_end": 0.0,
    "precision": "float32",
}


def brainlm(size: str, **knobs: object) -> Config:
    raw = {"presets": [f"brainlm/paper-{size}"], "datasets": DATASETS}
    return parse_config(raw | {"pretrain": {"brainlm": knobs}}, check_paths=False)


@pytest.mark.parametrize("size", SIZES)
def test_a_brainlm_preset_sets_what_was_published_and_writes_every_choice_out(size):
    written = read_yaml(PRESETS_DIR / "brainlm" / f"paper-{size}.yaml")
    assert set(written) == {"pretrain"}
    how = {"checkpoint_steps", "nodes", "processes_per_node", "compile"}
    assert (
        set(written["pretrain"])
        == set(Pretrain.model_fields) - how - Pretrain(model="brainlm-tiny").of_others
    )
    assert set(written["pretrain"]["brainlm"]) == set(BrainLM.model_fields)
    found = brainlm(size).pretrain
    assert found.model == f"brainlm-{size}"
    expected = OF_PAPER | OF_RELEASED
    assert {k: getattr(found, k) for k in expected} == expected
    assert (found.brainlm.window, found.brainlm.mask_ratio) == (200, 0.75)
    assert found.brainlm.mode == "corrected"
    assert found.dropout == (0.1 if size == "13m" else 0.0)


def test_the_learning_rate_of_a_preset_warms_up_and_falls_to_nothing():
    settings = brainlm("13m").pretrain
    rates = [learning_rate(epoch, settings) for epoch in range(100)]
    assert rates[:5] == pytest.approx([4e-4, 8e-4, 1.2e-3, 1.6e-3, 2e-3])
    falling = [1e-3 * (1 + math.cos(math.pi * k / 95)) for k in range(1, 96)]
    assert rates[5:] == pytest.approx(falling, abs=1e-12)


@pytest.fixture
def page(root) -> str:
    return (root / "docs" / "howto" / "brainlm.md").read_text()


def test_every_block_of_the_page_is_a_configuration_with_a_published_learning_rate(page):
    blocks = [yaml.safe_load(b) for b in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert len(blocks) == 6
    for block in blocks:
        assert block["presets"] == ["brainlm/paper-13m"]
        config = parse_config({"datasets": DATASETS} | block, check_paths=False)
        s = config.pretrain
        assert s.model == "brainlm-13m"
        assert s.lr == pytest.approx(1e-3 * s.batch_size / 256)
        assert s.warmup_epochs == s.epochs / 20
    for size in SIZES:
        assert f"brainlm/paper-{size}" in page
    (released,) = [b for b in blocks if "seed" in b]
    found = parse_config({"datasets": DATASETS} | released, check_paths=False)
    s = found.pretrain
    assert (found.seed, s.batch_size, s.epochs, s.weight_decay) == (1234, 256, 500, 0.05)
    assert (s.brainlm.mode, s.brainlm.mask_ratio) == ("reference", 0.2)


@pytest.mark.parametrize(
    ("size", "forward"), [("13m", "138.9"), ("111m", "79.4"), ("650m", "378.7")]
)
def test_the_page_says_what_a_model_and_its_training_cost(page, size, forward):
    """The forward passes are compared with the published ones in ``tests/models``."""
    row = next(line for line in page.splitlines() if line.startswith(f"| `brainlm/paper-{size}`"))
    _, parameters, released, *steps, run = [c.split()[0] for c in row.strip("| ").split(" | ")]
    config = brainlm(size)
    model = meta_model(config)
    assert int(parameters.replace(",", "")) == sum(p.numel() for p in model.parameters())
    assert released == forward
    configs = (config, brainlm(size, mask_ratio=0.2))
    counted = [BrainLMSpec().operations(model, c, N_PARCELS) for c in configs]
    assert steps == [f"{n / 1e9:.1f}" for n in counted]
    scans = config.pretrain.epochs * N_RECORDINGS
    assert float(run) == pytest.approx(counted[0] * scans, rel=0.01)
    assert f"{scans // config.pretrain.batch_size:,} steps" in page


def one_step(config: Config, n_rois: int = 20, n: int = 2) -> None:
    """Build a model and train one step; check the fraction of hidden values and that weights
    change.
    """
    rng = np.random.default_rng(0)
    settings = config.pretrain
    model = build_model(config, n_rois).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    n_tokens = model.n_tokens(n_rois, settings.brainlm.window)
    mask = model.random_mask(n, n_rois, settings.brainlm.window, settings.brainlm.mask_ratio)
    hidden = 1 - mask.visible.shape[1] / n_tokens
    assert hidden == pytest.approx(settings.brainlm.mask_ratio, abs=0.5 / n_tokens + 1e-9)
    batch = WindowBatch(
        rng.standard_normal((n, n_rois, settings.brainlm.window), np.float32),
        torch.from_numpy(60 * rng.standard_normal((n_rois, 3), np.float32)),
        *(mask, [f"s{k}" for k in range(n)]),
    )
    alone = Ranks(0, 1, 1, torch.device("cpu"))
    found = train_step(
        *(model, model, make_optimiser(model, settings), batch, settings, alone), stop_asked=False
    )
    loss, variance = found.losses
    assert 0.9 * variance < loss < 5 * variance  # of noise, by untrained weights
    assert found.embedding.shape == (1, n, model.embedding_dim)
    still = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    assert still == []


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.75, 0.9])
def test_the_13m_model_takes_a_step_at_every_published_ratio(ratio):
    one_step(brainlm("13m", mask_ratio=ratio))


@pytest.mark.slow
def test_the_111m_model_takes_a_step():
    one_step(brainlm("111m"))
