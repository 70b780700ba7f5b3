"""A small study whose task has a model."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from predict_study import TASK, Made, fit, publish, with_settings
from synthetic_study import Study, write_model, write_study

from brainmass_core.config.load import dump_config
from brainmass_core.finetune.cohort.dataset import TaskData, assemble


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Two classes, twenty parcels, a pre-trained folder; nobody changes it."""
    made = with_settings(
        write_study(tmp_path_factory.mktemp("study")),
        finetune={"methods": ["fc_svm", "brainmass_svm"]},
        neural={"max_epochs": 2, "brainnetcnn_maps": 2},
    )
    write_model(made)
    (made.config.results / "config.yaml").write_text(dump_config(made.config))
    return made


@pytest.fixture(scope="module")
def data(study) -> TaskData:
    """The labelled scans of the study."""
    return assemble(study.config, TASK)


@pytest.fixture(scope="module")
def fitted(study) -> Callable[[str], Made]:
    """``fitted(method)`` is the method fitted to the study, once for all tests of a file."""
    return cache(lambda method: fit(study, method))


@pytest.fixture(scope="module")
def model_folder(study, fitted) -> Path:
    """A stored linear SVM on FC."""
    return publish(study, study.paths.deployed(TASK), fitted("fc_svm").model)
