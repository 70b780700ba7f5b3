"""A small study whose task has a model."""

from pathlib import Path

import pytest
from predict_study import publish, with_settings
from synthetic_study import Study, write_model, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """Two classes, twenty parcels, a pre-trained folder; nobody changes it."""
    made = with_settings(
        write_study(tmp_path_factory.mktemp("study")),
        finetune={"methods": ["fc_svm", "brainmass_svm"]},
        neural={"max_epochs": 2, "brainnetcnn_maps": 2},
    )
    write_model(made)
    return made


@pytest.fixture(scope="module")
def model_folder(study) -> Path:
    """A stored linear SVM on FC."""
    return publish(study)
