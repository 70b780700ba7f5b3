"""The BrainLM of one token per parcel and 20 timepoints: counts, formulas, masks, order."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from brainmass_core.encoders.brainlm.layers import TAPS, Attention, PostNormLayer, convolve
from brainmass_core.encoders.brainlm.model import COORDINATE_SCALE, SIZES, BrainLM, build
from brainmass_core.models.tokens import (
    hidden_of,
    mask_of,
    masked_loss,
    n_masked,
    put_back,
    random_visible,
    take,
)

PARCELS, TIMEPOINTS = 6, 60
TOKENS = PARCELS * TIMEPOINTS // 20


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def series():
    return numbers(2, PARCELS, TIMEPOINTS)


@pytest.fixture
def coordinates():
    return 40 * numbers(PARCELS, 3, seed=1)


@pytest.fixture(params=["corrected", "reference"])
def model(request):
    return build("tiny", 3, request.param).eval()


def parameters_of(*parts) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


# ---- size and cost (spec, section 5)


def test_the_published_size_has_exactly_the_published_parameters():
    with torch.device("meta"):
        model = BrainLM("brainlm-13m")
    assert parameters_of(model) == 13_035_308
    encoder = parameters_of(model.signal, model.places, model.layers, model.norm)
    assert encoder + model.cls_token.numel() == 8_426_512


@pytest.mark.parametrize(("ratio", "gflop"), [(0.2, 265.0), (0.75, 138.9), (0.0, 332.9)])
def test_a_forward_pass_costs_what_the_released_one_costs(ratio, gflop):
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = BrainLM("brainlm-13m", "reference")
        mask = model.random_mask(1, 424, 200, ratio)
        model.reconstruct(torch.empty(1, 424, 200), torch.empty(424, 3), mask)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, rel=0.01)


def test_no_matrix_of_tokens_by_tokens_is_kept_for_the_backward_pass():
    kept = []
    model = build("tiny", 0)
    n = 100 * 10
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, id):
        mask = model.random_mask(1, 100, 200, 0.1)
        model(numbers(1, 100, 200), torch.zeros(100, 3), mask)
    assert 0 < max(kept) < n**2 / 4


# ---- masks


@pytest.mark.parametrize(
    ("ratio", "released", "corrected"),
    [(0.2, 3392, 3392), (0.5, 2120, 2120), (0.75, 1060, 1060), (0.9, 423, 424)],
)
def test_the_released_count_is_cut_and_the_corrected_one_is_rounded(ratio, released, corrected):
    noise = torch.rand(1, 4240)
    assert random_visible(noise, ratio, reference=True).shape == (1, released)
    assert random_visible(noise, ratio).shape == (1, corrected)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5])
def test_a_ratio_outside_its_range_is_refused(ratio):
    with pytest.raises(ValueError, match="mask ratio"):
        n_masked(10, ratio)
    with pytest.raises(ValueError, match="hides all 3 tokens"):
        n_masked(3, 0.99)


def test_tokens_put_back_are_those_that_a_double_argsort_restores():
    tokens, filling = numbers(3, 40, 5), numbers(5, seed=2)
    noise = torch.rand(3, 40, generator=torch.Generator().manual_seed(4))
    visible = random_visible(noise, 0.3, reference=True)
    restored = put_back(take(tokens, visible), visible, filling, 40)
    shuffle = noise.argsort(1)
    mixed = torch.cat([take(tokens, shuffle[:, :28]), filling.expand(3, 12, 5)], 1)
    assert torch.equal(restored, take(mixed, shuffle.argsort(1)))
    hidden = hidden_of(visible, 40)
    assert torch.equal(take(restored, hidden), filling.expand(3, 12, 5))
    mask = mask_of(visible, 40)
    assert mask.mean(1).tolist() == pytest.approx([1 - 28 / 40] * 3)
    assert mask.gather(1, visible).sum() == 0
    assert mask.gather(1, hidden).min() == 1


def test_natural_order_is_the_released_choice_sorted():
    noise = torch.rand(2, 50, generator=torch.Generator().manual_seed(0))
    released = random_visible(noise, 0.5, reference=True)
    natural = random_visible(noise, 0.5)
    assert torch.equal(released.sort(1).values, natural)
    assert not torch.equal(released, natural)


def test_masks_follow_from_their_generator(model):
    draws = [
        model.random_mask(2, PARCELS, TIMEPOINTS, 0.5, torch.Generator().manual_seed(s)).visible
        for s in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0][0].sort().values, draws[0][1].sort().values)


def test_tokens_enter_in_natural_order_unless_the_released_numerics_are_wanted():
    visible = {
        mode: build("tiny", 0, mode).random_mask(2, PARCELS, 200, 0.5).visible
        for mode in ("corrected", "reference")
    }
    assert (visible["corrected"].diff(dim=1) > 0).all()
    assert not (visible["reference"].diff(dim=1) > 0).all()


def test_a_future_mask_hides_the_last_timepoints_of_every_parcel(model, series, coordinates):
    mask = model.future_mask(2, PARCELS, TIMEPOINTS, 20)
    hidden = model.reconstruct(series, coordinates, mask)[1]
    assert torch.equal(hidden, torch.tensor([0.0, 0, 1]).expand(2, PARCELS, 3))
    for steps in (10, 0, 60, -20):
        with pytest.raises(ValueError, match="timepoints"):
            model.future_mask(2, PARCELS, TIMEPOINTS, steps)


def test_what_is_hidden_does_not_reach_the_prediction(model, series, coordinates):
    mask = model.future_mask(2, PARCELS, TIMEPOINTS, 20)
    other = series.clone()
    other[..., 40:] += 100
    predicted = [model.reconstruct(x, coordinates, mask)[0] for x in (series, other)]
    assert torch.equal(*predicted)
    other[..., 39] += 100
    assert not torch.allclose(predicted[0], model.reconstruct(other, coordinates, mask)[0])


# ---- formulas, again in double precision and NumPy


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def layer_norm(x, norm):
    z = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return z * array(norm.weight) + array(norm.bias)


def array(tensor):
    return tensor.detach().double().numpy()


def linear(x, part):
    return x @ array(part.weight).T + array(part.bias)


def in_double_precision(x, layer):
    """One layer on tokens (n, d), as the spec's section 3 has it."""
    heads, d = layer.attention.heads, x.shape[1]
    q, k, v = np.split(linear(x, layer.attention.qkv), 3, axis=1)
    taps, context = array(layer.attention.taps), np.zeros_like(x)
    for head in range(heads):
        part = slice(head * d // heads, (head + 1) * d // heads)
        a = softmax(q[:, part] @ k[:, part].T / math.sqrt(d / heads))
        context[:, part] = a @ v[:, part]
        for column in range(part.start, part.stop):
            context[:, column] += np.correlate(v[:, column], taps[head], mode="full")[
                len(taps[head]) // 2 : len(taps[head]) // 2 + len(x)
            ]
    h = layer_norm(x + linear(context, layer.attention.out), layer.norm_1)
    inner = linear(h, layer.linear_1)
    erf = torch.erf(torch.from_numpy(inner) / math.sqrt(2)).numpy()
    return layer_norm(h + linear(inner * (1 + erf) / 2, layer.linear_2), layer.norm_2)


def test_a_layer_is_its_formula():
    torch.manual_seed(0)
    layer = PostNormLayer(32, 4, 48)
    torch.nn.init.normal_(layer.attention.taps)
    for norm in (layer.norm_1, layer.norm_2):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    x = numbers(2, 150, 32)
    made = layer(x).detach()
    for sample, found in zip(x, made, strict=True):
        np.testing.assert_allclose(found, in_double_precision(array(sample), layer), atol=2e-5)
    rows = torch.tensor([[3, 149, 0], [7, 7, 100]])
    torch.testing.assert_close(layer(x, rows), take(made, rows), rtol=0, atol=1e-5)


@pytest.mark.parametrize("n", [1, 31, 64, 65, 130])
def test_the_convolution_is_torchs_grouped_one(n):
    v, taps = numbers(2, 3, n, 5).requires_grad_(), numbers(3, TAPS, seed=1).requires_grad_()
    made = convolve(v, taps)
    wanted = functional.conv2d(
        v.double(), taps.double()[:, None, :, None], padding=(TAPS // 2, 0), groups=3
    )
    torch.testing.assert_close(made.double(), wanted, rtol=0, atol=1e-5)
    weight = numbers(*made.shape, seed=2)
    found = torch.autograd.grad((made * weight).sum(), (v, taps))
    expected = torch.autograd.grad((wanted * weight.double()).sum(), (v, taps))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_attention_rows_sum_to_one_and_give_the_context():
    torch.manual_seed(0)
    part = Attention(32, 4, convolution=True)
    torch.nn.init.normal_(part.taps)
    torch.nn.init.eye_(part.out.weight)
    torch.nn.init.zeros_(part.out.bias)
    part, x = part.double(), numbers(2, 70, 32).double()
    weights = part.weights(x, torch.arange(70).expand(2, -1))  # (2, 4, 70, 70)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 70).double(), rtol=0, atol=1e-6)
    v = part.qkv(x)[..., 64:].unflatten(-1, (4, 8)).transpose(1, 2)
    context = weights @ v + functional.conv2d(
        v, part.taps[:, None, :, None], padding=(32, 0), groups=4
    )
    torch.testing.assert_close(part(x), context.transpose(1, 2).flatten(2), rtol=0, atol=1e-6)


def test_a_layer_is_that_of_transformers():
    module = pytest.importorskip("transformers.models.nystromformer.modeling_nystromformer")
    from transformers import NystromformerConfig

    config = NystromformerConfig(
        hidden_size=32, num_attention_heads=4, intermediate_size=48, num_landmarks=64,
        segment_means_seq_len=64, conv_kernel_size=TAPS, layer_norm_eps=1e-12, hidden_act="gelu",
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = module.NystromformerLayer(config).eval()
    ours = PostNormLayer(32, 4, 48)
    own = theirs.attention.self
    state = {
        "attention.qkv.weight": torch.cat([p.weight for p in (own.query, own.key, own.value)]),
        "attention.qkv.bias": torch.cat([p.bias for p in (own.query, own.key, own.value)]),
        "attention.taps": own.conv.weight.flatten(1),
    }
    for name, part in {
        "attention.out": theirs.attention.output.dense,
        "norm_1": theirs.attention.output.LayerNorm,
        "linear_1": theirs.intermediate.dense,
        "linear_2": theirs.output.dense,
        "norm_2": theirs.output.LayerNorm,
    }.items():
        state |= {f"{name}.{key}": p for key, p in part.named_parameters()}
    ours.load_state_dict(state)
    x = numbers(2, 128, 32)
    torch.testing.assert_close(ours(x), theirs(x)[0], rtol=0, atol=2e-6)


def test_the_whole_model_is_its_formula(series, coordinates):
    model = build("tiny", 5, "reference").eval()
    mask = model.random_mask(2, PARCELS, TIMEPOINTS, 0.5, torch.Generator().manual_seed(0))
    predicted = model.reconstruct(series, coordinates, mask)[0].flatten(1, 2)
    position = np.arange(3)[:, None] / 10000 ** (np.arange(0, 64, 2) / 64)
    when = np.stack([np.sin(position), np.cos(position)], -1).reshape(3, 64)

    def placed(tokens, places):
        where = linear(array(coordinates), places.xyz)
        return (tokens.reshape(PARCELS, 3, 64) + where[:, None] + when).reshape(-1, 64)

    for sample, visible, found in zip(series, mask.visible.numpy(), predicted, strict=True):
        tokens = placed(linear(array(sample).reshape(TOKENS, 20), model.signal), model.places)
        x = np.concatenate([array(model.cls_token)[None], tokens[visible]])
        for layer in model.layers:
            x = in_double_precision(x, layer)
        x = linear(layer_norm(x, model.norm), model.decoder.embed)
        whole = np.tile(array(model.decoder.mask_token), (TOKENS, 1))
        whole[visible] = x[1:]
        x = np.concatenate([x[:1], placed(whole, model.decoder.places)])
        for layer in model.decoder.layers:
            x = in_double_precision(x, layer)
        hidden = linear(layer_norm(x[1:], model.decoder.norm), model.decoder.head[0])
        wanted = linear(np.where(hidden > 0, hidden, 0.1 * hidden), model.decoder.head[2])
        np.testing.assert_allclose(found.detach(), wanted, atol=1e-5)


def test_corrected_coordinates_are_released_ones_in_units_of_60_mm(series, coordinates):
    models = [build("tiny", 5, mode).eval() for mode in ("corrected", "reference")]
    mask = models[0].random_mask(2, PARCELS, TIMEPOINTS, 0.5)
    corrected = models[0].reconstruct(series, coordinates * COORDINATE_SCALE, mask)[0]
    released = models[1].reconstruct(series, coordinates, mask)[0]
    torch.testing.assert_close(corrected, released, rtol=0, atol=1e-5)


# ---- order and determinism


def test_the_order_of_tokens_matters_through_the_convolution_alone(series, coordinates):
    model = build("tiny", 3, "reference").eval()
    n = torch.arange(TOKENS).expand(2, -1)
    orders = n, n.flip(1)
    for block in (*model.layers, *model.decoder.layers):
        torch.nn.init.normal_(block.attention.taps, std=0.3)
    seen = [model.tokens(series, coordinates, order)[0] for order in orders]
    assert (seen[0] - seen[1]).norm() / seen[0].norm() > 0.05
    for layer in model.layers:
        torch.nn.init.zeros_(layer.attention.taps)
    seen = [model.tokens(series, coordinates, order) for order in orders]
    for a, b in zip(*seen, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_embeddings_are_reproducible_unless_the_released_numerics_are_wanted(series, coordinates):
    corrected, reference = (build("tiny", 3, m).eval() for m in ("corrected", "reference"))
    assert torch.equal(*[corrected.encode(series, coordinates) for _ in range(2)])
    assert not torch.allclose(*[reference.encode(series, coordinates) for _ in range(2)])
    order = torch.rand(2, TOKENS).argsort(1)
    assert torch.equal(*[reference.tokens(series, coordinates, order)[0] for _ in range(2)])
    assert corrected.encode(series, coordinates).shape == (2, corrected.embedding_dim)


def test_attention_to_parcels_is_a_share(model, series, coordinates):
    share = model.cls_attention(series, coordinates)
    assert share.shape == (2, PARCELS)
    assert share.min() > 0
    assert share.sum(1).max() < 1
    # the remaining attention is to the CLS token itself
    torch.testing.assert_close(
        share.sum(1), torch.full((2,), 1 - 1 / (TOKENS + 1)), atol=0.02, rtol=0
    )


# ---- loss and scores


def test_only_hidden_values_have_a_loss(model, series, coordinates):
    mask = model.random_mask(2, PARCELS, TIMEPOINTS, 0.5, torch.Generator().manual_seed(1))
    predicted, hidden = model.reconstruct(series, coordinates, mask)
    weight = hidden[..., None].expand_as(predicted)
    target = model.patches(series)
    loss = masked_loss(predicted, target, weight)
    elsewhere = target + 7 * (1 - weight)
    assert torch.equal(masked_loss(predicted, elsewhere, weight), loss)
    made = model(series, coordinates, mask)
    torch.testing.assert_close(made["reconstruction"], loss, rtol=1e-5, atol=0)
    variance = target[weight.bool()].var(correction=0)
    torch.testing.assert_close(made["variance"], variance)
    assert not made["embedding"].requires_grad


def test_half_precision_gives_the_loss_of_single_precision(model, series, coordinates):
    mask = model.random_mask(2, PARCELS, TIMEPOINTS, 0.5)
    single = model(series, coordinates, mask)["reconstruction"]
    with torch.autocast("cpu", torch.bfloat16):
        half = model(series, coordinates, mask)["reconstruction"]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, single, rtol=0.02, atol=0)


def test_a_prediction_of_zero_on_unit_variance_costs_one():
    target = numbers(20, 30)
    target /= target.square().mean().sqrt()
    assert masked_loss(torch.zeros(20, 30), target, torch.ones(20, 30)).item() == pytest.approx(1)


def test_every_parameter_learns_and_the_loss_falls(coordinates):
    model = build("tiny", 1).train()
    phase = torch.arange(TIMEPOINTS) / 7.0
    series = torch.sin(phase + torch.arange(PARCELS)[:, None]).expand(4, -1, -1)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    generator, losses = torch.Generator().manual_seed(0), []
    torch.manual_seed(0)
    for _ in range(60):
        mask = model.random_mask(4, PARCELS, TIMEPOINTS, 0.3, generator)
        loss = model(series, coordinates, mask)["reconstruction"]
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


# ---- input


@pytest.mark.parametrize("n_timepoints", [100, 200, 240])
def test_any_window_that_is_a_multiple_of_the_patch_is_taken(model, n_timepoints):
    series = numbers(1, 12, n_timepoints)
    mask = model.random_mask(1, 12, n_timepoints, 0.75)
    predicted, hidden = model.reconstruct(series, torch.zeros(12, 3), mask)
    assert predicted.shape == (1, 12, n_timepoints // 20, 20)
    assert hidden.shape == (1, 12, n_timepoints // 20)


@pytest.mark.parametrize(("n", "remedy"), [(210, "200 or 220"), (19, "use 20"), (0, "use 20")])
def test_another_window_is_refused_with_its_neighbours(model, n, remedy):
    with pytest.raises(ValueError, match=f"found {n} timepoints.*{remedy}"):
        model.encode(torch.zeros(1, 4, n), torch.zeros(4, 3))


def test_positions_in_time_begin_again_at_each_parcel(coordinates):
    model = build("tiny", 0).eval()
    x = model.places(torch.zeros(1, PARCELS, 3, 64), torch.zeros(PARCELS, 3))
    assert torch.equal(x[0, 0], x[0, 5])
    assert not torch.equal(x[0, 0, 0], x[0, 0, 1])


def test_coordinates_must_be_those_of_the_parcels(model, series):
    with pytest.raises(ValueError, match=r"found coordinates of shape \(5, 3\), expected \(6, 3\)"):
        model.encode(series, torch.zeros(5, 3))


def test_unknown_sizes_and_modes_are_refused():
    with pytest.raises(ValueError, match="expected one of tiny, brainlm-13m"):
        BrainLM("13m")
    with pytest.raises(ValueError, match="expected one of corrected, reference"):
        BrainLM("tiny", "released")
    with pytest.raises(ValueError, match="found a size"):
        BrainLM({"width": 8})


def test_a_model_comes_back_as_it_was_saved(tmp_path, series, coordinates):
    shape = {"width": 32, "depth": 1, "heads": 2, "feedforward": 16, "decoder_depth": 1}
    custom = shape | {"decoder_heads": 1, "decoder_feedforward": 8, "patch": 10}
    for name, size in {"a": "tiny", "b": custom}.items():
        model = build(size, 3).eval()
        model.save_pretrained(tmp_path / name, {"atlas": "toy"})
        loaded = BrainLM.from_pretrained(tmp_path / name)
        assert (loaded.size, loaded.mode, loaded.shape) == (size, "corrected", model.shape)
        assert torch.equal(loaded.encode(series, coordinates), model.encode(series, coordinates))


def test_initial_weights_are_those_of_the_released_model():
    model = build({**SIZES["tiny"].__dict__, "width": 256}, 0)
    assert model.layers[0].attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.layers[0].attention.taps.std().item() == pytest.approx(0.02, rel=0.2)
    decoder = model.decoder.layers[0]
    for weight in (*decoder.attention.qkv.weight.chunk(3), decoder.linear_1.weight):
        bound = math.sqrt(6 / sum(weight.shape))
        assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert decoder.attention.taps.abs().max().item() == pytest.approx(TAPS**-0.5, rel=0.1)
    assert sum(p.abs().sum() for n, p in model.named_parameters() if n.endswith("bias")) == 0
