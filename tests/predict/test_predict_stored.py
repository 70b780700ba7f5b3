"""What is stored of a study's model is what was fitted, and no training scan."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from predict_study import TASK, Made, fit, with_settings
from synthetic_study import copy_of

from brainmass_core.checksums import sealed, sha256_of
from brainmass_core.encoders.registry import METHODS
from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.finetune.methods.features import Features
from brainmass_core.finetune.methods.fitting import confounds_of
from brainmass_core.predict import ContractError, Model
from brainmass_core.predict.deploy import write_model as store
from brainmass_core.predict.model import ESTIMATOR, WEIGHTS
from brainmass_core.predict.serialization import encode
from brainmass_core.scans.table import Unmatched, write_scans

pytestmark = pytest.mark.study

REGRESSION = {
    "kind": "regression",
    "label": "target",
    "classes": {},
    "transform": "zscore",
}

STORED = [name for name, m in METHODS.items() if m.deployable and not m.series]


def same(left, right, exact: bool = True) -> None:
    """Two tables of scores are equal, number by number."""
    assert list(left) == list(right)
    for name in left:
        a, b = (np.array(t[name].tolist(), dtype=float) for t in (left, right))
        if exact or (name == "y_pred" and a.max() == 1):
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def check(study, made: Made, folder: Path) -> None:
    data, (model, fitted) = assemble(study.config, TASK), made
    method, confounds = model.contract.method, confounds_of(data.scans)
    store(folder, model)
    kept = Model.load(folder).score(data.fc, confounds)
    same(kept, model.score(data.fc, confounds))
    # as it was fitted: the kernel of a linear SVM is summed in float32, its stored weights are not
    features = Features(study.config, data)[METHODS[method].given]
    truth = pd.DataFrame(fitted.score(features, confounds))
    linear_svm = METHODS[method].features.linear and METHODS[method].estimator.name == "svm"
    same(kept, truth, exact=not linear_svm)


@pytest.mark.parametrize("method", STORED)
def test_a_stored_method_predicts_what_the_fitted_one_does(study, fitted, tmp_path, method):
    check(study, fitted(method), tmp_path / "model")


@pytest.mark.parametrize(
    "method", ["fc_svm", "tangent_ridge", "brainmass_svm", "brainmass_knn", "brainmass_finetune"]
)
def test_a_stored_regression_predicts_what_the_fitted_one_does(numbers, tmp_path, method):
    check(numbers, fit(numbers, method), tmp_path / "model")


@pytest.fixture(scope="module")
def numbers(study, tmp_path_factory):
    """A copy of the study in which each scan has a number as target."""
    copy = copy_of(study, tmp_path_factory.mktemp("numbers"))
    scans = study.scans.assign(pheno_target=[str(20 + i % 37) for i in range(len(study.scans))])
    write_scans(copy.paths.scans("demo"), scans, Unmatched(), "hash")
    task = study.config.tasks[TASK].model_dump(mode="json") | REGRESSION
    return with_settings(copy, tasks={TASK: task})


@pytest.mark.parametrize("handling", ["regress", "combat", "match"])
@pytest.mark.parametrize("method", ["fc_ridge", "brainmass_svm"])
def test_the_handling_of_confounds_is_stored_too(study, tmp_path, handling, method):
    task = study.config.tasks[TASK].model_dump(mode="json") | {"confounds": handling}
    handled = with_settings(study, tasks={TASK: task})
    check(handled, fit(handled, method), tmp_path / "model")


@pytest.mark.parametrize(
    "method", ["fc_svm", "fc_ridge", "tangent_svm", "fc_brainmass_svm", "brainmass_finetune"]
)
def test_weights_hold_no_training_scan(data, fitted, method):
    model, as_fitted = fitted(method)
    stored: dict[str, np.ndarray] = {}
    for part in ("model", "before"):
        encode(getattr(model.fitted, part), stored, part)
    assert not [key for key in stored if "covariance" in key or "fit_X" in key]
    for values in stored.values():
        assert len(as_fitted.rows) not in values.shape
        assert not any(np.isin(scan, values.astype(np.float32)).all() for scan in data.fc[::10])


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
    (folder / "contract.json").write_text(json.dumps(sealed(contract)))


@pytest.mark.parametrize("name", [ESTIMATOR, WEIGHTS])
def test_a_pickle_in_the_place_of_a_file_is_never_loaded(fitted, tmp_path, name):
    folder = tmp_path / "model"
    store(folder, fitted("fc_svm").model)
    fired = tmp_path / "fired"
    (folder / name).write_bytes(pickle.dumps(Bomb(fired)))
    reseal(folder)
    with pytest.raises(ContractError, match="not a valid model"):
        Model.load(folder)
    assert not fired.exists()


def test_the_same_model_makes_the_same_bytes(study, tmp_path):
    written = []
    for name in "ab":
        store(tmp_path / name, fit(study, "brainmass_svm").model)
        written.append({f.name: f.read_bytes() for f in sorted((tmp_path / name).iterdir())})
    assert len(written[0]) == 4
    assert written[0] == written[1]
