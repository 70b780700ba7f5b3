"""Stored are data of known classes, and what is read can do nothing but predict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainmass_core.config.tasks import Finetune
from brainmass_core.encoders.registry import METHODS
from brainmass_core.finetune.methods.estimators import Setting
from brainmass_core.finetune.methods.fitting import BEFORE, fit, make_estimator
from brainmass_core.predict.contract import PLAIN
from brainmass_core.predict.serialization import (
    CLASSES,
    SerializationError,
    decode,
    encode,
    storable,
)


def test_a_linear_svm_of_three_classes_votes_as_libsvm_does():
    from sklearn.metrics.pairwise import linear_kernel
    from sklearn.svm import SVC

    from brainmass_core.predict.primal import primal

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((120, 9)), rng.integers(0, 4, 120)
    svm = SVC(kernel=linear_kernel).fit(x[:80], y[:80])
    made = primal(svm)
    np.testing.assert_array_equal(made.predict(x), svm.predict(x))
    np.testing.assert_allclose(made.decision_function(x), svm.decision_function(x), atol=1e-9)


def test_what_stores_training_scans_is_known_to_the_configuration():
    for method in METHODS.values():
        if method.estimator.is_network:
            assert not method.stores_scans
            continue
        made = make_estimator(method, Setting("classification", 2, 0))
        last = getattr(made, "estimator", made)
        last = last[-1] if hasattr(last, "steps") else last
        radial = getattr(last, "kernel", None) == "rbf"
        assert method.stores_scans == (radial or hasattr(last, "n_neighbors")), method.name


@pytest.mark.parametrize("n_features", [6, 21])  # FC of 4 and of 7 parcels
@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if not m.estimator.is_network])
def test_every_method_that_may_be_deployed_can_be_stored_and_predicts_the_same(name, n_features):
    method = METHODS[name]
    if not method.deployable:
        return
    assert method.given in PLAIN or method.given in method.encoder.features
    if method.features.name in BEFORE:
        assert BEFORE[method.features.name]().__class__.__name__ in CLASSES
    rng = np.random.default_rng(0)
    x, classes = rng.standard_normal((60, n_features)).astype(np.float32), np.arange(60) % 2
    x[:, 0] += classes
    for kind, n_classes, y in (("classification", 2, classes), ("regression", 0, x[:, 0])):
        if kind in method.kinds:
            fitted = fit(make_estimator(method, Setting(kind, n_classes, 0)), x, y, np.arange(60))
            stored: dict[str, np.ndarray] = {}
            restored = decode(json.loads(json.dumps(encode(storable(fitted), stored))), stored)
            np.testing.assert_allclose(restored.predict(x), fitted.predict(x), atol=1e-5)


def test_what_cannot_be_stored_is_known_before_anything_runs():
    yardsticks = {name for name, m in METHODS.items() if not m.deployable}
    assert yardsticks == {"chance", "confounds_svm", "confounds_ridge"}
    with pytest.raises(ValueError, match=r"deploy: chance cannot be stored.*fc_svm"):
        Finetune(deploy="chance")
    with pytest.raises(ValueError, match="deploy: fc_knn is not among methods"):
        Finetune(deploy="fc_knn")


def test_what_the_configuration_takes_for_able_is_what_the_methods_say():
    for name, method in METHODS.items():
        for kind in ("classification", "regression"):
            able = kind in method.kinds and method.deployable
            if method.deployable:
                chosen = Finetune(methods=[name], deploy=name).deployed(kind)
                assert chosen == (name if able else None)
            by_default = Finetune(methods=[name]).deployed(kind)
            assert by_default == (name if able and not method.stores_scans else None)


def test_the_default_is_chosen_before_any_score_is_known():
    assert Finetune().deployed("classification") == "fc_svm"
    both = Finetune(methods=["fc_svm", "brainmass_svm", "brainmass_ridge"])
    assert both.deployed("classification") == "brainmass_ridge"
    chosen = Finetune(methods=["chance", "untrained_svm", "fc_logistic", "fc_ridge"])
    assert chosen.deployed("classification") == "fc_logistic"
    assert chosen.deployed("regression") == "fc_ridge"
    assert Finetune(deploy=None).deployed("classification") is None
    assert Finetune(permute_labels=True).deployed("classification") is None


@pytest.mark.parametrize(
    "node",
    [
        {"class": "Popen", "state": {"args": ["touch", "x"]}},
        {"class": "os.system", "state": {}},
        {"class": "GridSearchCV", "state": {}},
        {"class": "Pipeline", "state": {"steps": [{"tuple": ["a", {"class": "Memory"}]}]}},
        {"class": "StandardScaler", "state": {"mean_": {"function": "eval"}}},
        {"class": "StandardScaler", "state": {"mean_": {"array": "elsewhere"}}},
        {"class": "StandardScaler", "state": "none"},
        {"class": "NetworkClassifier", "state": {}, "recipe": {"name": "Lora"}},
        {"class": "NetworkClassifier", "state": {}, "recipe": {"name": "FineTune", "folder": "/"}},
        {
            "class": "SeriesClassifier",
            "state": {"n_features_in_": 20},
            "recipe": {
                "name": "SeriesArchitecture",
                "architecture": "os",
                "size": "tiny",
                "mode": "corrected",
                "n_rois": 2,
            },
        },
        {"type": "void"},
        {"import": "os"},
        {"slice": [1, 2, 3, 4]},
    ],
)
def test_only_known_classes_functions_and_arrays_can_be_named(node):
    with pytest.raises(SerializationError):
        decode(node, {})


def test_what_is_no_data_cannot_be_written():
    for value in (Path("/tmp"), object(), np.array([object()]), print, {"a": lambda: 0}):
        with pytest.raises(SerializationError):
            encode(value, {})


numbers = st.one_of(st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(), st.text())


matrices = st.sampled_from(["<f8", "<f4", "<i8", "bool"]).flatmap(
    lambda kind: arrays(kind, st.tuples(st.integers(1, 3), st.integers(1, 3)))
)


values = st.recursive(
    st.one_of(numbers, matrices, matrices.map(np.asfortranarray)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)


def equal(a, b) -> bool:
    if isinstance(a, np.ndarray):
        same_order = a.flags.c_contiguous == b.flags.c_contiguous
        return a.dtype == b.dtype and a.tobytes() == b.tobytes() and same_order
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


@settings(max_examples=50)
@given(values)
def test_decoding_is_the_inverse_of_encoding(value):
    stored: dict[str, np.ndarray] = {}
    node = json.loads(json.dumps(encode(value, stored), allow_nan=False))
    assert equal(decode(node, stored), value)


def test_a_class_is_known_by_its_own_name():
    assert all(name == cls.__name__ for name, cls in CLASSES.items())
