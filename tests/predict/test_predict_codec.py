"""What is stored is what was fitted, and what is read can do nothing but predict."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from predict_study import TASK, fit, make, with_settings

from brainmass_core.config.tasks import (
    DEPLOYABLE,
    METHOD_NAMES,
    NO_BRAIN,
    OF_SERIES,
    REMEMBERING,
    Finetune,
)
from brainmass_core.finetune import estimators
from brainmass_core.finetune.dataset import assemble
from brainmass_core.finetune.features import Features
from brainmass_core.finetune.methods import METHODS, confounds_of
from brainmass_core.predict import ContractError, Model
from brainmass_core.predict.codec import CLASSES, CodecError, decode, encode
from brainmass_core.predict.deploy import write_model as store
from brainmass_core.predict.model import ESTIMATOR, WEIGHTS, sha256_of

REGRESSION = {
    "kind": "regression",
    "label": "target",
    "classes": {},
    "transform": "zscore",
}


def same(left, right, exact: bool = True) -> None:
    """Two tables of scores are equal, number by number."""
    assert list(left) == list(right)
    for name in left:
        a, b = (np.array(t[name].tolist(), dtype=float) for t in (left, right))
        if exact or (name == "y_pred" and a.max() == 1):
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def check(study, method: str, folder: Path) -> None:
    data = assemble(study.config, TASK)
    confounds = confounds_of(data.scans)
    model, fitted = fit(study, method)
    store(folder, model)
    kept = Model.load(folder).score(data.fc, confounds)
    same(kept, model.score(data.fc, confounds))
    # as it was fitted: the kernel of a linear SVM is summed in float32, its stored weights are not
    features = Features(study.config, data)[METHODS[method].features]
    truth = pd.DataFrame(fitted.score(features, confounds))
    same(kept, truth, exact=method not in ("fc_svm", "tangent_svm"))


@pytest.mark.parametrize("method", [m for m in DEPLOYABLE if m not in OF_SERIES])
def test_a_stored_method_predicts_what_the_fitted_one_does(study, tmp_path, method):
    check(study, method, tmp_path / "model")


@pytest.mark.parametrize(
    "method", ["fc_svm", "tangent_ridge", "brainmass_svm", "brainmass_knn", "brainmass_finetune"]
)
def test_a_stored_regression_predicts_what_the_fitted_one_does(study, tmp_path, method):
    check(as_regression(study), method, tmp_path / "model")


def as_regression(study):
    """The same scans with their number as target."""
    from brainmass_core.scans.table import Unmatched, write_scans

    scans = study.scans.assign(pheno_target=[str(20 + i % 37) for i in range(len(study.scans))])
    write_scans(study.paths.scans("demo"), scans, Unmatched(), "hash")
    task = study.config.tasks[TASK].model_dump(mode="json") | REGRESSION
    return with_settings(study, tasks={TASK: task})


@pytest.mark.parametrize("handling", ["regress", "combat", "match"])
@pytest.mark.parametrize("method", ["fc_ridge", "brainmass_svm"])
def test_the_handling_of_confounds_is_stored_too(study, tmp_path, handling, method):
    task = study.config.tasks[TASK].model_dump(mode="json") | {"confounds": handling}
    check(with_settings(study, tasks={TASK: task}), method, tmp_path / "model")


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
    made = (estimators.radial_svm, estimators.component_svm, estimators.knn)
    for name in DEPLOYABLE:
        assert (name in REMEMBERING) == (METHODS[name].make in made), name


@pytest.mark.parametrize("method", ["fc_svm", "fc_ridge", "tangent_svm", "brainmass_finetune"])
def test_weights_hold_no_training_scan(study, method):
    model, fitted = fit(study, method)
    stored: dict[str, np.ndarray] = {}
    for part in ("model", "before"):
        encode(getattr(model.fitted, part), stored, part)
    assert not [key for key in stored if "covariance" in key or "fit_X" in key]
    fc = assemble(study.config, TASK).fc
    for values in stored.values():
        assert len(fitted.rows) not in values.shape
        assert not any(np.isin(scan, values.astype(np.float32)).all() for scan in fc[::10])


def test_what_cannot_be_stored_is_known_before_anything_runs():
    assert set(DEPLOYABLE) | set(NO_BRAIN) == set(METHOD_NAMES)
    with pytest.raises(ValueError, match=r"deploy: chance cannot be stored.*fc_svm"):
        Finetune(deploy="chance")
    with pytest.raises(ValueError, match="deploy: fc_knn is not among methods"):
        Finetune(deploy="fc_knn")


def test_what_the_configuration_takes_for_able_is_what_the_methods_say():
    for name, method in METHODS.items():
        for kind in ("classification", "regression"):
            able = kind in method.kinds and name not in NO_BRAIN
            if name not in NO_BRAIN:
                chosen = Finetune(methods=[name], deploy=name).deployed(kind)
                assert chosen == (name if able else None)
            by_default = Finetune(methods=[name]).deployed(kind)
            assert by_default == (name if able and name not in REMEMBERING else None)


def test_the_default_is_chosen_before_any_score_is_known():
    assert Finetune().deployed("classification") == "fc_svm"
    both = Finetune(methods=["fc_svm", "brainmass_svm", "brainmass_ridge"])
    assert both.deployed("classification") == "brainmass_ridge"
    chosen = Finetune(methods=["chance", "untrained_svm", "fc_logistic", "fc_ridge"])
    assert chosen.deployed("classification") == "fc_logistic"
    assert chosen.deployed("regression") == "fc_ridge"
    assert Finetune(deploy=None).deployed("classification") is None
    assert Finetune(permute_labels=True).deployed("classification") is None


# --- what is read cannot run


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def reseal(folder: Path) -> None:
    """Make the checksums right again, as an attacker would."""
    contract = json.loads((folder / "contract.json").read_text())
    contract["files"] = {name: sha256_of(folder / name) for name in (ESTIMATOR, WEIGHTS)}
    (folder / "contract.json").write_text(json.dumps(contract))


@pytest.mark.parametrize("name", [ESTIMATOR, WEIGHTS])
def test_a_pickle_in_the_place_of_a_file_is_never_loaded(study, tmp_path, name):
    folder = tmp_path / "model"
    store(folder, make(study, "fc_svm"))
    fired = tmp_path / "fired"
    (folder / name).write_bytes(pickle.dumps(Bomb(fired)))
    reseal(folder)
    with pytest.raises(ContractError, match="not a usable model"):
        Model.load(folder)
    assert not fired.exists()


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
    with pytest.raises(CodecError):
        decode(node, {})


def test_what_is_no_data_cannot_be_written():
    for value in (Path("/tmp"), object(), np.array([object()]), print, {"a": lambda: 0}):
        with pytest.raises(CodecError):
            encode(value, {})


# --- properties

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


def test_the_same_model_makes_the_same_bytes(study, tmp_path):
    written = []
    for name in "ab":
        store(tmp_path / name, make(study, "brainmass_svm"))
        written.append({f.name: f.read_bytes() for f in sorted((tmp_path / name).iterdir())})
    assert len(written[0]) == 4
    assert written[0] == written[1]
