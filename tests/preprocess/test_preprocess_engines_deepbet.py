"""deepbet on heads with a known brain, and its interface."""

from __future__ import annotations

import deepbet
import numpy as np
import preprocess_phantom as phantom
import pytest
import torch
from nilearn import datasets

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.anatomical import structural
from brainmass_core.preprocess.anatomical.template import load_template
from brainmass_core.preprocess.engines.deepbet import brain_extraction
from brainmass_core.preprocess.grids import Volume, isotropic_grid, resample, to_isotropic
from brainmass_core.preprocess.steps import Steps


def scan() -> Volume:
    image = phantom.t1w()
    return Volume(image.get_fdata(dtype=np.float32), image.affine)


def true_brain(head: Volume) -> np.ndarray:
    mask = datasets.load_mni152_brain_mask(resolution=2)
    volume = Volume(np.asarray(mask.dataobj, dtype=np.float32), mask.affine)
    at = phantom.t1w_to_template(head.points())
    return volume.at(at).reshape(head.data.shape) > 0.5


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def stand_in(monkeypatch, run) -> None:
    """A network with prescribed output."""

    class Network:
        def __init__(self, no_gpu: bool) -> None:
            assert no_gpu

        def run(self, image):
            return None, run(image), 0.0

    monkeypatch.setattr(deepbet, "BrainExtraction", Network)


@pytest.mark.parametrize("error", [AssertionError("Not enough foreground"), ValueError("empty")])
def test_a_head_without_brain_fails_the_scan(error, monkeypatch):
    def nothing(image):
        raise error

    stand_in(monkeypatch, nothing)
    with pytest.raises(ScanFailed, match="deepbet found no brain") as caught:
        brain_extraction(Volume(np.zeros((9, 9, 9)), np.eye(4)), None)
    assert "preprocess.engines.brain_extraction" in caught.value.remedy


def test_the_network_has_one_thread_and_others_have_theirs_again(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)

    def seen(image):
        assert threads == [1]
        assert torch.are_deterministic_algorithms_enabled()
        return image

    stand_in(monkeypatch, seen)
    data = np.zeros((9, 9, 9))
    data[4, 5, 6] = 1
    np.testing.assert_array_equal(brain_extraction(Volume(data, np.eye(4)), None), data > 0)
    assert threads == [1, 2]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.study
def test_the_mask_of_the_scan_is_the_brain_of_the_t1w(monkeypatch):
    """The brain is extracted from the original scan, whatever the grid of the registration."""
    seen: list[tuple[int, ...]] = []

    def found(raw: Volume, template) -> np.ndarray:
        seen.append(raw.data.shape)
        return true_brain(raw)

    known = structural.engine
    monkeypatch.setattr(
        structural, "engine", lambda step, name: found if name == "deepbet" else known(step, name)
    )
    flipped = scan()
    affine = flipped.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (flipped.data.shape[0] - 1)
    affine[:3, 0] *= -1
    raw = Volume(flipped.data[::-1].transpose(2, 0, 1), affine[:, [2, 0, 1, 3]])
    engines = {"brain_extraction": "deepbet", "normalisation": "greedy"}
    settings = Preprocess(resolution=5.0, registration="affine", engines=engines)
    template = load_template(None, None, 5.0)
    steps = Steps()
    made = structural.estimate(raw, template, settings, steps)
    assert seen == [raw.data.shape]
    assert dice(made.mask, true_brain(made.t1w)) > 0.95
    assert made.template_correlation > 0.6
    assert list(steps.seconds) == [
        *("brain_extraction", "bias_correction", "normalisation", "segmentation")
    ]
    np.testing.assert_array_equal(made.posteriors.sum(axis=-1) > 0.5, made.mask)


def test_a_brain_of_a_few_voxels_is_refused(monkeypatch):
    def few(raw: Volume, template) -> np.ndarray:
        return np.indices(raw.data.shape).sum(axis=0) < 9

    head = scan()
    whole = to_isotropic(head, 4.0)
    with pytest.raises(ScanFailed, match="found a brain of 4 ml, expected more than 100"):
        structural._brain_of_the_scan(head, whole, None, few, Steps())


@pytest.mark.slow
def test_the_brain_of_a_head_is_found_in_any_orientation_with_the_same_bits():
    head = scan()
    found = brain_extraction(head, None)
    assert dice(found, true_brain(head)) > 0.97
    np.testing.assert_array_equal(brain_extraction(head, None), found)
    turned = Volume(head.data.transpose(2, 0, 1)[::-1], _turned(head))
    again = brain_extraction(turned, None)[::-1].transpose(1, 2, 0)
    np.testing.assert_array_equal(again, found)


def _turned(head: Volume) -> np.ndarray:
    affine = head.affine.copy()[:, [2, 0, 1, 3]]
    affine[:3, 3] += affine[:3, 0] * (head.data.shape[2] - 1)
    affine[:3, 0] *= -1
    return affine


@pytest.mark.slow
def test_a_skull_stripped_head_keeps_its_brain():
    head = scan()
    brain = true_brain(head)
    found = brain_extraction(head.with_data(head.data * brain), None)
    assert dice(found, brain) > 0.97


@pytest.mark.slow
def test_voxels_of_other_sizes_show_the_same_brain():
    head = scan()
    shape, affine = isotropic_grid(head.data.shape, head.affine, 2.0)
    finer = resample(head, shape, affine)
    found = brain_extraction(finer, None)
    assert dice(found, true_brain(finer)) > 0.97
    assert found.sum() * 8 == pytest.approx(true_brain(finer).sum() * 8, rel=0.06)
