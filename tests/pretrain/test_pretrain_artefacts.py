"""Results of pre-training: loadable, reproducible to the byte, and with the right numbers on the
card.
"""

from __future__ import annotations

import json

import pytest
import torch

from brainmass_core.encoders.brainmass.card import flops_per_sample
from brainmass_core.encoders.brainmass.model import BrainMass, build
from brainmass_core.encoders.brainmass.network import SIZES
from brainmass_core.encoders.interface import implementation_of
from brainmass_core.models.pretrained import ModelError, seal
from brainmass_core.pretrain.artefacts import publish
from brainmass_core.pretrain.data.views import index_shards
from brainmass_core.pretrain.loop.checkpoint import Checkpoints
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.train import train
from brainmass_core.tables import HISTORY, config_hash_of, read_table

FILES = ("model.safetensors", "config.json", "history.parquet", "loss.png", "README.md")


@pytest.fixture
def trained(make_study):
    study = make_study()
    index = index_shards(study.config)
    checkpoints = Checkpoints(study.config, index.fingerprint)
    train(study.config, index, checkpoints, Ranks(0, 1, 1, torch.device("cpu")), lambda: False)
    state = checkpoints.latest()
    publish(study.config, index, state)
    return study, index, state


def test_a_published_model_encodes_as_the_trained_one(trained):
    study, index, state = trained
    loaded = BrainMass.from_pretrained(study.paths.pretrain("brainmass"))
    assert not loaded.training
    # without gradients, as the loaded one: torch's fast path rounds otherwise on some processors
    model = BrainMass("tiny", index.n_rois).eval().requires_grad_(False)
    model.load_state_dict(state.model)
    fc = torch.rand(3, 190, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(loaded.encode(fc), model.encode(fc))
    untrained = implementation_of(study.config.pretrain.encoder).untrained
    other = untrained(study.config, index.n_rois)
    assert not other.training
    assert not torch.equal(loaded.encode(fc), other.encode(fc))
    assert torch.equal(other.encode(fc), untrained(study.config, 20).encode(fc))


def test_publishing_twice_gives_the_same_bytes(trained):
    study, index, state = trained
    folder = study.paths.pretrain("brainmass")
    first = {name: (folder / name).read_bytes() for name in FILES}
    publish(study.config, index, state)
    assert {name: (folder / name).read_bytes() for name in FILES} == first
    assert sorted(f.name for f in folder.iterdir()) == sorted(FILES)


def test_history_has_one_row_per_step_and_the_hash_of_the_configuration(trained):
    study, *_ = trained
    folder = study.paths.pretrain("brainmass")
    history = read_table(folder / "history.parquet", "history")
    assert history.schema.equals(HISTORY)
    assert history["step"].to_pylist() == list(range(6))
    # 8 of 18 scans per step: the third step begins in the first epoch and ends in the second
    assert history["epoch"].to_pylist() == [0, 0, 0, 1, 1, 2]
    assert history["lr"].to_pylist() == pytest.approx([1.5e-4] * 3 + [3e-4] * 3)
    assert history["effective_rank"].to_pylist()[1:5] == [None] * 4
    settings = json.loads((folder / "config.json").read_text())
    assert config_hash_of(folder / "history.parquet") == settings["config_hash"]


def test_the_card_counts_scans_and_participants(trained):
    study, *_ = trained
    card = (study.paths.pretrain("brainmass") / "README.md").read_text()
    for line in (
        "| a | internal | 12 | 12 |",
        "| b | pretrain | 6 | 6 |",
        "| total |  | 18 | 18 |",
    ):
        assert line in card
    assert "not a medical device" in card
    assert "parameters used for embeddings (transformer and readout) | 24,720 |" in card


@pytest.mark.parametrize(
    ("size", "gflop"), [("small", 6.0911), ("base", 21.3495), ("large", 79.6273)]
)
def test_operations_per_scan_and_step_equal_the_reference_less_what_is_spared(
    make_study, size, gflop
):
    study = make_study().changed(size=size, n_masked_classification=10, n_masked_reconstruction=5)
    with torch.device("meta"):
        model = BrainMass(size, 100)
    whole = flops_per_sample(model, study.config) + spared(SIZES[size].feedforward)
    assert whole / 1e9 == pytest.approx(gflop, abs=5e-5)


def spared(f: int, d: int = 100, tokens: int = 102) -> int:
    """Operations, forward and backward, for tokens of the last layer that are not used.

    Masked passes only use the masked tokens; for all others, query, output projection, feed-forward
    and their row of the attention are omitted. The released code computes them all.
    """
    unseen = 2 * tokens - 10 - 5
    return 3 * unseen * (4 * d**2 + 4 * d * f + 4 * tokens * d)


def test_a_folder_without_a_usable_model_is_refused(trained, tmp_path):
    study, *_ = trained
    with pytest.raises(ModelError, match=r"config\.json: no such file; .*snakemake"):
        BrainMass.from_pretrained(tmp_path)
    folder = study.paths.pretrain("brainmass")
    settings = json.loads((folder / "config.json").read_text())
    wider = {**settings, "n_rois": 40, "embedding_dim": 320}
    (folder / "config.json").write_text(json.dumps(wider))
    with pytest.raises(ModelError, match="damaged or was changed"):
        BrainMass.from_pretrained(folder)
    seal(folder)
    with pytest.raises(ModelError, match="has the shape"):
        BrainMass.from_pretrained(folder)


def test_untrained_weights_are_those_that_training_starts_from(trained):
    study, *_ = trained
    start = build("tiny", 20, study.config.seed, dropout=0.1)
    untrained = implementation_of(study.config.pretrain.encoder).untrained
    for a, b in zip(untrained(study.config, 20).parameters(), start.parameters(), strict=True):
        assert torch.equal(a, b)


def test_operations_of_tiny_equal_those_counted_by_hand(make_study):
    study = make_study().changed(n_masked_classification=10, n_masked_reconstruction=5)
    d, depth, f, dim = 100, *(SIZES["tiny"].depth, SIZES["tiny"].feedforward), 128

    def encoder(tokens: int) -> int:
        return depth * (8 * tokens * d**2 + 4 * tokens**2 * d + 4 * tokens * d * f)

    linear = 2 * (d * d * 8 + 800 * 1600 + 1600 * dim)  # readout and projector
    predictor = 2 * (dim * 2 * dim + 2 * dim * dim)
    masked = sum(encoder(102) + 4 * m * d * f for m in (10, 5))
    # backward costs twice the forward, and the target has none
    passes = 2 * (4 * (encoder(100) + linear) + 3 * predictor) + 3 * masked
    scores = 2 * (2 * 10 * 10 * d)  # of classification, which pass a gradient to one side only
    no_gradient_of_fc = 2 * (2 * 100 * d * 3 * d)  # first projection to queries, keys and values
    with torch.device("meta"):
        model = BrainMass("tiny", 100)
    whole = passes + scores - no_gradient_of_fc
    assert flops_per_sample(model, study.config) == whole - spared(f)
