"""Invariants of BrainMass, and numbers measured with the authors' code and weights from crc32."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from brainmass_core.encoders.brainmass.losses import alignment_loss, classification_loss
from brainmass_core.encoders.brainmass.model import (
    BrainMass,
    build,
    parameter_counts,
    sinusoid_table,
)
from brainmass_core.encoders.brainmass.network import SIZES, heads_for

OFFICIAL_PREFIX = {
    "online.layers.": "attention_list.",
    "online.readout.": "dim_reduction.",
    "online.projector.": "g.net.",
    "target.layers.": "attention_list.",
    "target.readout.": "dim_reduction.",
    "target.projector.": "g.net.",
    "predictor.": "predictor.net.",
    "classification_head.": "cpred.",
    "reconstruction_head.": "gpred.",
    "mask_token": "mask_embed",
}


def official_name(name: str) -> str:
    for ours, theirs in OFFICIAL_PREFIX.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def set_fixture_weights(model: BrainMass) -> BrainMass:
    with torch.no_grad():
        for name, p in model.named_parameters():
            key = official_name(name)
            draw = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(p.shape))
            if p.ndim == 3:
                p.copy_(torch.from_numpy(0.1 * draw))
            elif p.ndim == 2:
                p.copy_(torch.from_numpy(draw / math.sqrt(p.shape[1])))
            else:
                p.fill_(1.0 if name.endswith("weight") else 0.0)
    return model


def fixture_views() -> tuple[torch.Tensor, torch.Tensor]:
    normal = [np.random.RandomState(s).standard_normal for s in (7, 8, 9)]
    series = normal[0]((4, 100, 8)) @ normal[1]((4, 8, 160)) + 2 * normal[2]((4, 100, 160))
    view_1, view_2 = (
        torch.from_numpy(np.stack([np.corrcoef(s) for s in series[..., part]])).float()
        for part in (slice(0, 128), slice(32, 160))
    )
    return view_1, view_2


def small_batch(n_rois: int, batch: int = 4) -> tuple[torch.Tensor, ...]:
    x = torch.randn(2, batch, n_rois, 60, generator=torch.Generator().manual_seed(0))
    views = [torch.stack([torch.corrcoef(s) for s in v]) for v in x]
    return (*views, torch.arange(6).repeat(batch, 1), torch.arange(3).repeat(batch, 1))


@pytest.fixture(scope="module")
def base() -> BrainMass:
    return set_fixture_weights(BrainMass("base", 100, dropout=0.0))


@pytest.mark.parametrize(
    ("size", "paper", "network", "feedforward"),
    [
        ("small", 14_411_468, 4_898_824, 1024),
        ("base", 25_357_068, 10_165_800, 2048),
        ("large", 67_007_372, 30_579_304, 4096),
    ],
)
def test_parameter_totals_are_those_of_the_paper(size, paper, network, feedforward):
    with torch.device("meta"):
        model = BrainMass(size, 100)
    counts = parameter_counts(model)
    assert (counts["paper"], counts["network"]) == (paper, network)
    layer = sum(p.numel() for p in model.online.layers[0].parameters())
    assert layer == 40_900 + 201 * feedforward
    assert counts["deployed"] == SIZES[size].depth * layer + 808


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("n_rois", [100, 200])
def test_shapes_follow_from_the_atlas(size, n_rois):
    model = build(size, n_rois, seed=0).eval()
    view, *_ = small_batch(n_rois, batch=2)
    assert model.online.tokens(view).shape == (2, n_rois, n_rois)
    assert model.encode(view).shape == (2, 8 * n_rois) == (2, model.embedding_dim)
    projection = model.online.projector(model.encode(view))
    assert projection.shape == (2, SIZES[size].feature_dim)


def test_fixture_views_are_those_of_the_reference():
    view_1, _ = fixture_views()
    assert view_1.double().sum().item() == pytest.approx(381.93754, rel=1e-6)
    assert view_1[0, 0, 1:4].tolist() == pytest.approx([0.248083, -0.228148, -0.214670], abs=1e-6)


def test_embedding_and_projection_norms_equal_the_reference(base):
    view_1, _ = fixture_views()
    base.eval()
    with torch.no_grad():
        embedding = base.encode(view_1)
        projection = base.online.projector(embedding)
    assert embedding.norm(dim=1).tolist() == pytest.approx(
        [26.4878, 28.6950, 32.5951, 28.5905], rel=1e-5
    )
    assert projection.norm(dim=1).tolist() == pytest.approx(
        [19.7985, 21.5694, 24.6894, 21.4692], rel=1e-5
    )


def test_losses_and_gradient_norms_equal_the_reference(base):
    base.train()
    losses = base(*fixture_views(), torch.arange(10).repeat(4, 1), torch.arange(5).repeat(4, 1))
    names = ("alignment", "classification", "reconstruction")
    values = [losses[n].item() for n in names]
    assert values == pytest.approx([3.952878, 2.304233, 0.580900], rel=1e-5)
    total = losses["alignment"] + 0.1 * losses["classification"] + 2 * losses["reconstruction"]
    assert total.item() == pytest.approx(5.345102, rel=1e-5)
    base.zero_grad()
    total.backward()
    layer = base.online.layers[0]
    norms = {
        1.24654: layer.self_attn.in_proj_weight,
        1.73336: layer.linear1.weight,
        3.7264: base.online.readout[0].weight,
        3.74852: base.online.projector[0].weight,
        2.91503: base.predictor[3].weight,
    }
    for expected, parameter in norms.items():
        assert parameter.grad.norm().item() == pytest.approx(expected, rel=5e-4)
    assert all(p.grad is None for p in base.target.parameters())


def test_output_tokens_have_mean_0_and_standard_deviation_1(base):
    base.eval()
    with torch.no_grad():
        tokens = base.online.tokens(fixture_views()[0]).double()
    assert tokens.mean(-1).abs().max() < 1e-6  # float32 rounding of the norm itself
    assert tokens.std(-1, unbiased=False).numpy() == pytest.approx(1.0, abs=1e-4)


def test_without_positions_permuted_rows_give_permuted_tokens(base):
    base.eval()
    view, _ = fixture_views()
    order = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        difference = base.online.tokens(view[:, order]) - base.online.tokens(view)[:, order]
    assert difference.abs().max() < 1e-5


def test_alignment_is_0_for_equal_and_4_for_opposite_vectors():
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(2))
    assert alignment_loss(x, x).item() == pytest.approx(0, abs=1e-6)
    assert alignment_loss(x, -3 * x).item() == pytest.approx(4, abs=1e-6)


def test_classification_loss_at_equal_scores_is_the_log_of_the_number_of_choices():
    original = torch.randn(3, 10, 20)
    assert classification_loss(original, torch.zeros(3, 10, 20)).item() == pytest.approx(
        math.log(10), rel=1e-6
    )
    far_apart = 100 * torch.eye(10)[None]
    assert classification_loss(far_apart, torch.eye(10)[None]).item() < 1e-6


def test_position_table_equals_the_reference():
    table = sinusoid_table(102, 100)
    assert table.shape == (1, 102, 100)
    assert table[0, 0].tolist() == [0.0, 1.0] * 50
    # the reference computed its rates in single precision
    assert table[0, 1, :4].tolist() == pytest.approx(
        [0.841471, 0.540302, 0.739121, 0.673575], abs=3e-6
    )
    assert table.double().sum().item() == pytest.approx(3605.518176, abs=1e-4)


def test_target_parameters_follow_slowly_and_its_buffers_by_batch_statistics():
    model = build("tiny", 20, seed=0, dropout=0.0).train()
    before = {n: p.clone() for n, p in model.target.named_parameters()}
    losses = model(*small_batch(20))
    sum(losses[n] for n in ("alignment", "classification", "reconstruction")).backward()
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= 0.1 * p.grad
    buffers = {n: b.clone() for n, b in model.target.named_buffers()}
    model.update_target(0.996)
    online = dict(model.online.named_parameters())
    for name, p in model.target.named_parameters():
        torch.testing.assert_close(p, 0.996 * before[name] + 0.004 * online[name])
    assert any((before[n] != p).any() for n, p in model.target.named_parameters())
    assert all(torch.equal(b, buffers[n]) for n, b in model.target.named_buffers())
    norm = model.target.projector[1]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.num_batches_tracked == 2  # one per view
    assert (norm.running_mean != 0).any()


@pytest.mark.parametrize(("masking", "leaks"), [("rows", True), ("rows_and_columns", False)])
def test_only_row_masking_lets_a_hidden_roi_be_read_off_the_others(masking, leaks):
    model = build("tiny", 20, seed=0, masking=masking).eval()
    fc, *_ = small_batch(20)
    fc = (fc + fc.transpose(1, 2)) / 2
    masked = torch.tensor([[1, 7, 12]] * len(fc))
    other = fc.clone()
    other[:, 7, :] = other[:, :, 7] = 0.3  # another connectivity of a hidden ROI
    seen, seen_other = (model._masked_tokens(x, [masked])[0] for x in (fc, other))
    assert (not torch.equal(seen, seen_other)) == leaks


def test_what_hides_rows_and_columns_is_symmetric():
    model = build("tiny", 20, seed=0, masking="rows_and_columns")
    fc, *_ = small_batch(20)
    hidden = model._hidden(
        (fc + fc.transpose(1, 2)) / 2, torch.tensor([[3, 4]] * len(fc)), model.mask_token
    )
    apart = [i for i in range(20) if i not in (3, 4)]
    assert torch.equal(hidden[:, 3, apart], hidden[:, apart, 3])
    assert torch.equal(hidden[:, 3], hidden[:, 4])
    assert torch.equal(hidden[:, apart][:, :, apart], hidden[:, apart][:, :, apart].mT)


def test_sets_of_masked_rois_encoded_together_are_those_encoded_apart():
    model = build("tiny", 20, seed=0).eval()
    fc, *_ = small_batch(20)
    sets = [torch.arange(5).expand(len(fc), -1), torch.arange(9, 12).expand(len(fc), -1)]
    together = model._masked_tokens(fc, sets)
    for tokens, rois in zip(together, sets, strict=True):
        torch.testing.assert_close(tokens, model._masked_tokens(fc, [rois])[0])


@pytest.mark.parametrize("train_heads", [True, False])
def test_heads_and_tokens_learn_by_default_and_stay_in_the_official_mode(train_heads):
    model = build("tiny", 20, seed=0, train_heads=train_heads)
    losses = model(*small_batch(20))
    sum(losses[n] for n in ("alignment", "classification", "reconstruction")).backward()
    parts = [
        *model.classification_head.parameters(),
        *model.reconstruction_head.parameters(),
        *(model.mask_token, model.cls_token, model.dist_token),
    ]
    assert len(parts) == 11
    assert sum(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in parts) == (
        11 if train_heads else 0
    )
    untouched = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert untouched == []


def test_edge_vectors_and_matrices_encode_alike():
    model = build("tiny", 20, seed=0).eval()
    matrix, *_ = small_batch(20)
    matrix = (matrix + matrix.transpose(1, 2)) / 2
    matrix.diagonal(dim1=1, dim2=2).fill_(1.0)
    rows, columns = np.triu_indices(20, 1)
    edges = matrix[:, rows, columns]
    assert torch.equal(model.matrices(edges), matrix)
    assert torch.equal(model.encode(edges), model.encode(matrix))
    with pytest.raises(ValueError, match=r"\(4, 189\).*\(batch, 190\)"):
        model.encode(edges[:, 1:])


def test_build_depends_on_the_seed_alone():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    a, b, c = (build("tiny", 20, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)
    assert torch.equal(state, torch.random.get_rng_state())


def test_heads_that_do_not_divide_the_rois_are_refused_with_the_nearest_that_do():
    with pytest.raises(ValueError, match=r"5 attention heads do not divide 116 ROIs.* 4 or 29"):
        heads_for("small", 116)
    assert heads_for("small", 116, heads=4) == 4
    assert heads_for("tiny", 116) == 4
    assert [heads_for("tiny", n) for n in (100, 200)] == [5, 5]
