"""Networks as estimators: they learn, do not use test scans, and are reproducible."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.utils import estimator_checks

from brainmass_core.encoders.brainmass.head import (
    Adapted,
    FineTune,
    Lora,
    add_adapters,
    merge_adapters,
)
from brainmass_core.encoders.brainmass.model import build
from brainmass_core.finetune.methods.networks import BrainNetCNN, BrainNetworkTransformer
from brainmass_core.finetune.methods.neural import (
    NetworkClassifier,
    NetworkRegressor,
    batches,
)
from brainmass_core.finetune.methods.stopping import inner_split

N_ROIS = 12
N_EDGES = N_ROIS * (N_ROIS - 1) // 2
RECIPES = {
    "brainnetcnn": BrainNetCNN(edge_maps=4, lr=1e-3),
    "transformer": BrainNetworkTransformer(n_clusters=4, lr=1e-3),
    "finetune": FineTune(lr=1e-3),
    "lora": Lora(lr=3e-3),
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    build("tiny", N_ROIS, seed=3).save_pretrained(folder)
    return str(folder)


def cohort(n=160, effect=0.5, seed=0, n_classes=2):
    """FC with one block of edges that grows with the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    fc = 0.2 * rng.standard_normal((n, N_EDGES))
    fc[:, :10] += effect * y[:, None] / (n_classes - 1)
    return np.clip(fc, -1, 1).astype(np.float32), y


def quick(recipe, **settings):
    return NetworkClassifier(recipe, **{"max_epochs": 12, "patience": 4, **settings})


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.study] if n == "finetune" else []) for n in RECIPES],
)
def test_a_planted_difference_is_learned(name):
    X, y = cohort(effect=0.4)
    model = quick(RECIPES[name]).fit(X[:110], y[:110])
    assert roc_auc_score(y[110:], model.decision_function(X[110:])) > 0.85


@pytest.mark.parametrize("name", RECIPES)
def test_without_a_difference_nothing_is_learned(name):
    scores = []
    for seed in range(4):
        X, y = cohort(n=320, effect=0.0, seed=seed)
        model = quick(RECIPES[name], max_epochs=4).fit(X[:120], y[:120])
        scores.append(roc_auc_score(y[120:], model.decision_function(X[120:])))
    # the AUC of 100 against 100 by chance: standard error sqrt(201 / 12 / 100²) = 0.041
    assert abs(np.mean(scores) - 0.5) < 2.6 * 0.041 / 2


def test_three_classes_are_told_apart():
    X, y = cohort(n=210, effect=1.0, n_classes=3)
    labels = np.array(["b", "c", "a"])[y]
    model = quick(RECIPES["transformer"]).fit(X[:150], labels[:150])
    probability = model.predict_proba(X[150:])
    assert probability.shape == (60, 3)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert (model.predict(X[150:]) == labels[150:]).mean() > 0.7
    auc = roc_auc_score(labels[150:], probability, multi_class="ovr")
    assert auc > 0.85


@pytest.mark.parametrize("name", RECIPES)
def test_a_planted_slope_is_learned_in_the_unit_of_the_target(name):
    z = np.random.default_rng(2).standard_normal(200)
    X, _ = cohort(n=200, effect=0.0)
    X[:, :10] += 0.15 * z[:, None].astype(np.float32)
    model = NetworkRegressor(RECIPES[name], max_epochs=12).fit(X[:150], 40 + 10 * z[:150])
    assert r2_score(40 + 10 * z[150:], model.predict(X[150:])) > 0.4


def test_scores_probabilities_and_classes_agree():
    X, y = cohort(n=60)
    model = quick(RECIPES["brainnetcnn"], max_epochs=2).fit(X, y + 5)
    score, probability = model.decision_function(X), model.predict_proba(X)
    np.testing.assert_allclose(np.log(probability[:, 1] / probability[:, 0]), score, atol=1e-8)
    assert (model.predict(X) == np.where(score > 0, 6, 5)).all()


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before(name):
    X, y = cohort(n=60)
    first = quick(RECIPES[name], max_epochs=2).fit(X, y)
    torch.rand(7)
    second = clone(first).fit(X, y)
    a, b = first.decision_function(X), second.decision_function(X)
    assert a.tobytes() == b.tobytes()
    other = quick(RECIPES[name], max_epochs=2, random_state=1).fit(X, y)
    assert a.tobytes() != other.decision_function(X).tobytes()


def test_fitting_leaves_the_generator_and_the_threads_of_torch_as_they_were():
    X, y = cohort(n=40)
    threads = torch.get_num_threads()
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    quick(RECIPES["transformer"], max_epochs=1).fit(X, y)
    assert torch.rand(1) == expected
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("seed", range(5))
def test_no_participant_is_held_back_in_part(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 40, size=130)
    strata = groups % 3
    inner, held = inner_split(strata, groups, 0.2, seed)
    assert sorted([*inner, *held]) == list(range(130))
    assert not set(groups[inner]) & set(groups[held])
    assert set(strata[held]) == set(strata[inner]) == {0, 1, 2}
    assert 0.1 < len(held) / 130 < 0.3


def test_the_groups_that_fit_is_given_decide_who_is_held_back():
    X, y = cohort(n=80)
    groups = np.repeat(np.arange(20), 4)
    y = groups % 2
    model = quick(RECIPES["transformer"], max_epochs=1).fit(X, y, groups=groups)
    held = set(groups[model.validation_])
    assert held
    assert (np.isin(groups, list(held)).nonzero()[0] == model.validation_).all()


def test_a_class_of_one_participant_leaves_nothing_to_hold_back():
    inner, held = inner_split(np.array([0, 0, 1, 1]), np.array([1, 2, 3, 3]), 0.2, 0)
    assert len(inner) == 4
    assert len(held) == 0
    X, y = cohort(n=2)
    model = quick(RECIPES["finetune"], max_epochs=3).fit(X, y)
    assert model.n_epochs_ == 3
    assert np.isnan([h["validation"] for h in model.history_]).all()


def test_standardisation_sees_the_training_part_only():
    X, y = cohort(n=80)
    recipe = RECIPES["brainnetcnn"]
    held = quick(recipe, max_epochs=1).fit(X, y).validation_
    changed = X.copy()
    changed[held] += 100
    model = quick(recipe, max_epochs=1).fit(changed, y)
    inner = np.setdiff1d(np.arange(80), held)
    np.testing.assert_allclose(model.mean_, X[inner].mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.scale_, X[inner].std(axis=0), rtol=1e-5)


def test_the_kept_weights_are_those_of_the_lowest_validation_loss():
    X, y = cohort(n=80, effect=0.0)
    model = quick(RECIPES["transformer"], max_epochs=30, lr=3e-3).fit(X, y)
    losses = [h["validation"] for h in model.history_]
    assert model.n_epochs_ == int(np.argmin(losses)) + 1
    assert len(losses) == model.n_epochs_ + 4 < 30
    held = model.validation_
    p = model.predict_proba(X[held])[np.arange(len(held)), y[held]]
    share = np.bincount(np.delete(y, held)) / (80 - len(held))
    weight = 1 / share[y[held]]
    assert -(weight * np.log(p)).sum() / weight.sum() == pytest.approx(min(losses), rel=1e-4)


def test_a_rare_class_weighs_as_much_as_a_frequent_one():
    X, _ = cohort(n=200, effect=0.0)
    y = (np.arange(200) % 10 == 0).astype(int)
    model = quick(RECIPES["transformer"], max_epochs=3).fit(X, y)
    assert 0.35 < model.predict_proba(X)[:, 1].mean() < 0.65


@pytest.mark.parametrize(("n", "size"), [(33, 16), (32, 16), (1, 16), (5, 2), (17, 16)])
def test_batches_hold_every_row_once_and_none_is_alone(n, size):
    parts = list(batches(np.arange(n) + 3, size))
    assert sorted(np.concatenate(parts)) == list(range(3, n + 3))
    assert n == 1 or min(map(len, parts)) > 1


def test_adapters_start_as_nothing_and_merged_weights_give_the_adapted_output():
    encoder = build("tiny", N_ROIS, seed=3).online
    plain = copy.deepcopy(encoder).eval()
    fc = torch.randn(4, N_ROIS, N_ROIS)
    add_adapters(encoder, rank=2, alpha=6)
    encoder.eval()
    torch.testing.assert_close(encoder.embed(fc), plain.embed(fc))
    with torch.no_grad():
        for p in encoder.parameters():
            if p.requires_grad:
                p.copy_(torch.randn(p.shape) / 5)
    adapters = encoder.layers[0].linear1.parametrizations.weight[0]
    expected = plain.layers[0].linear1.weight + 6 / 2 * adapters.up @ adapters.down
    adapted = encoder.embed(fc)
    merge_adapters(encoder)
    torch.testing.assert_close(encoder.embed(fc), adapted)
    torch.testing.assert_close(encoder.layers[0].linear1.weight, expected)
    assert not torch.allclose(adapted, plain.embed(fc), atol=1e-3)
    assert encoder.state_dict().keys() == plain.state_dict().keys()


def test_lora_trains_adapters_and_head_and_nothing_else(model_folder):
    recipe = Lora(model_folder)
    network = recipe.build(N_ROIS, 2)
    before = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # `down` has no gradient as long as `up` is zero
        optimizer.zero_grad()
        network.train()(torch.randn(8, N_ROIS, N_ROIS)).square().sum().backward()
        optimizer.step()
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    expected = {k for k in before if k.startswith("head.") or k.endswith((".up", ".down"))}
    assert changed == expected
    per_layer = 4 * (N_ROIS + 3 * N_ROIS) + 4 * 2 * N_ROIS + 2 * 4 * (N_ROIS + 256)
    trained = sum(p.numel() for p in network.encoder.parameters() if p.requires_grad)
    assert trained == 2 * per_layer


def test_fine_tuning_starts_from_the_folder_and_its_control_does_not(model_folder):
    known = build("tiny", N_ROIS, seed=3).online.layers[0].linear1.weight
    tuned = FineTune(model_folder).build(N_ROIS, 2)
    control = FineTune(init_seed=4).build(N_ROIS, 2)
    assert isinstance(tuned, Adapted)
    assert torch.equal(tuned.encoder.layers[0].linear1.weight, known)
    assert not torch.equal(control.encoder.layers[0].linear1.weight, known)
    assert all(p.requires_grad for p in tuned.parameters())


def test_the_head_has_the_widths_of_the_paper_at_100_rois():
    head = FineTune(size="small").build(100, 2).head
    widths = [tuple(m.weight.shape) for m in head if isinstance(m, torch.nn.Linear)]
    assert widths == [(256, 800), (32, 256), (2, 32)]
    assert [m.p for m in head if isinstance(m, torch.nn.Dropout)] == [0.3, 0.3]


def test_a_model_of_another_number_of_rois_is_refused(model_folder):
    X = np.zeros((8, 45), np.float32)
    with pytest.raises(ValueError, match="made for 12 ROIs, the FC has 10"):
        NetworkClassifier(FineTune(model_folder)).fit(X, np.arange(8) % 2)


def test_what_cannot_be_trained_is_refused():
    X, y = cohort(n=20)
    with pytest.raises(ValueError, match="found one class"):
        NetworkClassifier().fit(X, np.zeros(20))
    with pytest.raises(ValueError, match="found 65 edges"):
        NetworkClassifier().fit(X[:, :65], y)
    with pytest.raises(ValueError, match="found 19 groups for 20 scans"):
        NetworkClassifier().fit(X, y, groups=np.arange(19))
    with pytest.raises(
        ValueError, match=r"diverged at learning rate 1e\+18; lower neural\.brainnetcnn_lr"
    ):
        quick(RECIPES["brainnetcnn"], lr=1e18).fit(X, y)
    with pytest.raises(NotFittedError):
        NetworkClassifier().predict(X)
    model = quick(RECIPES["brainnetcnn"], max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match="expecting 66 features"):
        model.predict(X[:, :45])


@pytest.mark.parametrize("name", RECIPES)
def test_a_fitted_estimator_survives_pickling(name):
    X, y = cohort(n=30)
    model = quick(RECIPES[name], max_epochs=1).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert (again.decision_function(X) == model.decision_function(X)).all()


# checks that need no particular number of features: FC has n (n - 1) / 2 of them
@pytest.mark.parametrize("estimator", [NetworkClassifier(), NetworkRegressor()], ids=repr)
@pytest.mark.parametrize(
    "check",
    [
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_mixin_order",
    ],
)
def test_scikit_learn_takes_it_for_an_estimator(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))
