"""A model that is written to a folder and read again is unchanged."""

from __future__ import annotations

import json

import pytest
import torch

from brainmass_core.encoders.brainmass.model import BrainMass, build
from brainmass_core.models.pretrained import SETTINGS, WEIGHTS, ModelError, seal


@pytest.fixture
def folder(tmp_path):
    build("tiny", 21, seed=4, heads=7).save_pretrained(tmp_path / "m", {"atlas": "toy"})
    return tmp_path / "m"


def test_a_model_comes_back_as_it_was_saved(folder):
    model, loaded = build("tiny", 21, seed=4, heads=7), BrainMass.from_pretrained(folder)
    assert (loaded.size, loaded.n_rois, loaded.heads) == ("tiny", 21, 7)
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(t, loaded.state_dict()[n]) for n, t in model.state_dict().items())
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert json.loads((folder / SETTINGS).read_text())["atlas"] == "toy"


def test_the_same_model_makes_the_same_bytes(folder, tmp_path):
    BrainMass.from_pretrained(folder).save_pretrained(tmp_path / "again", {"atlas": "toy"})
    for name in (WEIGHTS, SETTINGS):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", [WEIGHTS, SETTINGS])
def test_a_missing_or_damaged_file_is_named(folder, name):
    file = folder / name
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(ModelError, match=name):
        BrainMass.from_pretrained(folder)
    file.unlink()
    with pytest.raises(ModelError, match=rf"{name}: no such file"):
        BrainMass.from_pretrained(folder)


def test_weights_of_another_shape_are_refused(folder):
    settings = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps(settings | {"n_rois": 28}))
    seal(folder)
    with pytest.raises(ModelError, match="has the shape"):
        BrainMass.from_pretrained(folder)
