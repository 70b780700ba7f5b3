"""The BrainLM that is a vision transformer: counts, padding, order of parcels, formulas."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from brainmass_core.encoders.brainlm.vit import (
    IMAGE_SCALE,
    PADDING,
    BrainLMViT,
    Mask,
    build,
    order_of,
)
from brainmass_core.models.tokens import (
    image_of,
    masked_loss,
    padded,
    patches_of,
    sinusoid_2d,
)

PARCELS, TIMEPOINTS = 40, 50


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def series():
    return IMAGE_SCALE * numbers(2, PARCELS, TIMEPOINTS)


@pytest.fixture
def coordinates():
    return (40 * numbers(PARCELS, 3, seed=1)).round()


@pytest.fixture(params=["corrected", "reference"])
def model(request):
    return build("tiny", 3, request.param).eval()


def patch_16_or_14(patch: int, mode: str) -> BrainLMViT:
    size = {**BrainLMViT.SIZES["tiny"].__dict__, "patch": patch}
    return build(size, 0, mode).eval()


# ---- size and cost (spec, section 5)


@pytest.mark.parametrize(
    ("size", "n", "encoder"),
    [("brainlm-111m", 111_655_680, 86_208_000), ("brainlm-650m", 656_613_964, 631_667_200)],
)
def test_the_published_sizes_have_exactly_the_published_parameters(size, n, encoder):
    with torch.device("meta"):
        model = BrainLMViT(size)
    assert sum(p.numel() for p in model.parameters()) == n
    ours = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("decoder"))
    grid = 432 // 16 if size == "brainlm-111m" else 434 // 14
    # the published count includes the table of positions, which is not trained
    assert ours + (grid**2 + 1) * model.shape.width == encoder


@pytest.mark.parametrize(
    ("size", "ratio", "gflop"),
    [
        ("brainlm-111m", 0.75, 79.4),
        ("brainlm-111m", 0.0, 191.1),
        ("brainlm-650m", 0.75, 378.7),
        ("brainlm-650m", 0.0, 1429.0),
    ],
)
def test_a_forward_pass_costs_what_the_released_one_costs(size, ratio, gflop):
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = BrainLMViT(size, "reference")
        mask = model.random_mask(1, 424, 200, ratio)
        model.reconstruct(torch.empty(1, 424, 200), torch.empty(424, 3), mask)
    # the released model has three equal channels, ours their sum or mean
    grid = model.side(424, 200) // model.shape.patch
    widths = model.shape.width + model.shape.decoder_width
    channels = 2 * 2 * grid**2 * model.shape.patch**2 * widths
    assert (counter.get_total_flops() + channels) / 1e9 == pytest.approx(gflop, rel=0.002)


@pytest.mark.parametrize(("patch", "visible", "data"), [(16, 182, 351), (14, 240, 465)])
def test_half_of_the_released_tokens_touch_data(patch, visible, data):
    corrected, reference = (patch_16_or_14(patch, m) for m in ("corrected", "reference"))
    side = reference.side(424, 200)
    assert side == {16: 432, 14: 434}[patch]
    assert len(reference.slots(424, 200)) == (side // patch) ** 2
    assert reference.random_mask(1, 424, 200, 0.75).visible.shape == (1, visible)
    touched = patches_of(padded(torch.ones(1, 424, 200), side, 0.0), patch)[0].any(1).nonzero()
    assert torch.equal(corrected.slots(424, 200), touched[:, 0])
    assert len(touched) == data
    assert corrected.random_mask(1, 424, 200, 0.75).visible.shape == (1, data - round(0.75 * data))


@pytest.mark.parametrize(("patch", "rounded"), [(16, 28), (14, 23)])
def test_hiding_the_last_20_timepoints_hides_whole_patches_only_as_released(patch, rounded):
    series, coordinates = torch.zeros(1, 424, 200), torch.zeros(424, 3)
    for mode, hidden in {"reference": rounded, "corrected": 20}.items():
        model = patch_16_or_14(patch, mode)
        mask = model.future_mask(1, 424, 200, 20)
        found = model.reconstruct(series, coordinates, mask)[1]
        wanted = torch.zeros(1, 424, 200)
        wanted[..., 200 - hidden :] = 1
        assert torch.equal(found, wanted)


# ---- image


def test_an_image_is_padded_cut_and_put_together_again():
    image = numbers(2, 424, 200)
    square = padded(image, 432, PADDING)
    assert square.shape == (2, 432, 432)
    assert torch.equal(square[:, 4:-4, 116:-116], image)
    assert (square == PADDING).sum() == 2 * (432**2 - 424 * 200)
    assert torch.equal(image_of(patches_of(square, 16), 16), square)
    assert torch.equal(patches_of(square, 16)[1, 28], square[1, 16:32, 16:32].flatten())
    model = patch_16_or_14(16, "corrected")
    tokens = model._patches(image, PADDING)
    assert torch.equal(model._image(tokens, image.shape), image)


def test_parcels_are_sorted_by_y_with_ties_in_their_own_order(model, series):
    coordinates = torch.zeros(PARCELS, 3)
    coordinates[:, 1] = torch.tensor([3.0, -1, 3, 0] * 10)
    order = order_of(coordinates)
    keys = [(coordinates[i, 1].item(), i) for i in range(PARCELS)]
    assert [keys[i] for i in order] == sorted(keys)
    image = model.image(series, coordinates)
    torch.testing.assert_close(image[:, order.argsort()] * IMAGE_SCALE, series)


def positions(side: int, width: int) -> np.ndarray:
    rate = 10000 ** (-np.arange(width // 4) / (width // 4))
    return np.array(
        [
            np.concatenate([f(place * rate) for place in (column, row) for f in (np.sin, np.cos)])
            for row in range(side)
            for column in range(side)
        ]
    )


def test_positions_are_sines_and_cosines_of_column_and_row():
    np.testing.assert_allclose(sinusoid_2d(5, 8).double(), positions(5, 8), atol=1e-7)


def test_a_prediction_is_in_the_order_and_unit_of_the_series(series, coordinates, model):
    # a model that predicts a constant of each parcel's patch row: its value follows the sorting
    mask = model.random_mask(2, PARCELS, TIMEPOINTS, 0.5, torch.Generator().manual_seed(0))
    predicted, hidden = model.reconstruct(series, coordinates, mask)
    order = order_of(coordinates)
    by_y = model.reconstruct(series[:, order], coordinates[order], mask)
    torch.testing.assert_close(predicted[:, order], by_y[0], rtol=0, atol=1e-5)
    assert torch.equal(hidden[:, order], by_y[1])


def test_what_is_hidden_does_not_reach_the_prediction(model, series, coordinates):
    mask = model.future_mask(2, PARCELS, TIMEPOINTS, 20)
    predicted, hidden = model.reconstruct(series, coordinates, mask)
    assert hidden[..., -20:].min() == 1
    changed = model.reconstruct(series + 100 * hidden, coordinates, mask)[0]
    assert torch.equal(predicted, changed)
    other = series.clone()
    other[..., 0] += 100
    assert not torch.allclose(predicted, model.reconstruct(other, coordinates, mask)[0])


# ---- loss, determinism, learning


@pytest.mark.parametrize("future", [False, True])
def test_the_loss_is_that_of_hidden_data_alone(model, series, coordinates, future):
    mask = model.random_mask(2, PARCELS, TIMEPOINTS, 0.5, torch.Generator().manual_seed(2))
    if future:
        mask = model.future_mask(2, PARCELS, TIMEPOINTS, 20)
    predicted, hidden = model.reconstruct(series, coordinates, mask)
    wanted = masked_loss(predicted / IMAGE_SCALE, series / IMAGE_SCALE, hidden)
    made = model(series, coordinates, mask)
    torch.testing.assert_close(made["reconstruction"], wanted, rtol=1e-5, atol=0)
    variance = (series / IMAGE_SCALE)[hidden.bool()].var(correction=0)
    torch.testing.assert_close(made["variance"], variance, rtol=1e-4, atol=0)
    assert made["embedding"].shape == (2, model.embedding_dim)


def test_half_precision_gives_the_loss_of_single_precision(model, series, coordinates):
    mask = model.random_mask(2, PARCELS, TIMEPOINTS, 0.5)
    single = model(series, coordinates, mask)["reconstruction"]
    with torch.autocast("cpu", torch.bfloat16):
        half = model(series, coordinates, mask)["reconstruction"]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, single, rtol=0.02, atol=0)


def test_embeddings_are_reproducible_and_those_of_an_unmasked_pass(model, series, coordinates):
    first, second = (model.encode(series, coordinates) for _ in range(2))
    assert torch.equal(first, second)
    n = len(model.slots(PARCELS, TIMEPOINTS))
    everything = Mask(torch.arange(n).flip(0).expand(2, -1))
    shuffled = model._visible(model.image(series, coordinates), everything)[0][:, 0]
    torch.testing.assert_close(first, shuffled, rtol=0, atol=1e-5)  # no order in attention


def test_every_parameter_learns_and_the_loss_falls(coordinates):
    model = build("tiny", 1).train()
    phase = torch.arange(TIMEPOINTS) / 7.0
    series = IMAGE_SCALE * torch.sin(phase + torch.arange(PARCELS)[:, None]).expand(4, -1, -1)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    generator, losses = torch.Generator().manual_seed(0), []
    for _ in range(60):
        mask = model.random_mask(4, PARCELS, TIMEPOINTS, 0.5, generator)
        loss = model(series, coordinates, mask)["reconstruction"]
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


def test_any_parcellation_and_window_fits(model):
    for shape in [(100, 200), (17, 64), (64, 17), (20, 10)]:
        mask = model.random_mask(1, *shape, 0.5)
        predicted, hidden = model.reconstruct(
            torch.zeros(1, *shape), torch.zeros(shape[0], 3), mask
        )
        assert predicted.shape == hidden.shape == (1, *shape)


def test_coordinates_must_be_those_of_the_parcels(model, series):
    with pytest.raises(ValueError, match=r"found coordinates of shape \(5, 3\)"):
        model.encode(series, torch.zeros(5, 3))
    with pytest.raises(ValueError, match=r"expected \(batch, parcels, timepoints\)"):
        model.encode(series[0], torch.zeros(PARCELS, 3))


def test_a_model_comes_back_as_it_was_saved(tmp_path, series, coordinates, model):
    model.save_pretrained(tmp_path / "m")
    loaded = BrainLMViT.from_pretrained(tmp_path / "m")
    assert (loaded.size, loaded.mode) == ("tiny", model.mode)
    assert torch.equal(loaded.encode(series, coordinates), model.encode(series, coordinates))


# ---- an independent vision transformer

NAMES = {
    "vit.layers": "vit.encoder.layer",
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def test_the_whole_model_is_that_of_transformers():
    """An image that fills its square, so that their padding-free model sees the same."""
    transformers = pytest.importorskip("transformers")
    from brainmass_core.encoders.brainlm.official import from_official

    config = transformers.ViTMAEConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        image_size=64, patch_size=16, num_channels=3, layer_norm_eps=1e-12, mask_ratio=0.5,
        decoder_hidden_size=32, decoder_num_hidden_layers=2, decoder_num_attention_heads=4,
        decoder_intermediate_size=64,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.ViTMAEForPreTraining(config).eval()
    with torch.no_grad():  # version 5 leaves these at zero
        for table in (theirs.vit.embeddings.position_embeddings, theirs.decoder.decoder_pos_embed):
            table[0, 1:] = torch.from_numpy(positions(4, table.shape[2]))
        for token in (theirs.vit.embeddings.cls_token, theirs.decoder.mask_token):
            token.normal_()
    # newer versions have other names than the checkpoints
    state = theirs.state_dict()
    for new, old in NAMES.items():
        state = {name.replace(new, old): tensor for name, tensor in state.items()}
    ours = from_official(config.to_dict(), state)
    image, noise = numbers(2, 64, 64), torch.rand(2, 16)
    coordinates = torch.arange(64.0)[:, None].expand(-1, 3)
    made = theirs(image[:, None].expand(-1, 3, -1, -1), noise=noise)
    wanted = theirs.unpatchify(made.logits).mean(1)
    mask = Mask(noise.argsort(1)[:, :8])
    predicted, hidden = ours.reconstruct(image * IMAGE_SCALE, coordinates, mask)
    torch.testing.assert_close(predicted / IMAGE_SCALE, wanted, rtol=0, atol=1e-5)
    assert hidden[:, ::16, ::16].flatten(1).tolist() == made.mask.tolist()
