"""Before registration, no step has a second copy of the run in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmass_core.preprocess.functional import bold as functional
from brainmass_core.preprocess.functional import confounds
from brainmass_core.preprocess.functional.bold import load_bold
from brainmass_core.preprocess.functional.confounds import compcor, dvars
from brainmass_core.preprocess.functional.despike import despike
from brainmass_core.preprocess.functional.slice_timing import correct_slice_timing

SHAPE = (40, 44, 30, 120)


def peak(action: Callable[[], object]) -> int:
    """Peak memory (bytes) beyond that used before."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.asfortranarray(rng.normal(1000, 10, SHAPE).astype(np.float32))


@pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz"])
def test_reading_takes_the_run_and_one_slab(tmp_path: Path, data, name, monkeypatch):
    image = nib.Nifti1Image(data[..., :60].astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 1)  # scaled, so that nibabel makes float64 of each slab
    nib.save(image, tmp_path / name)
    monkeypatch.setattr(functional, "SLAB", 5 * data[..., 0].nbytes)
    run = data[..., :60].nbytes
    load_bold(tmp_path / name, "auto")  # memory of the modules that it imports does not count
    assert peak(lambda: load_bold(tmp_path / name, "auto")) < 1.35 * run
    assert peak(lambda: nib.load(tmp_path / name).get_fdata()) > 2 * run


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slice_timing_in_place_takes_some_slices(data, axis):
    times = np.linspace(0, 1.9, SHAPE[axis])
    run = data.copy(order="F")
    needed = peak(lambda: correct_slice_timing(run, times, 2.0, axis=axis, copy=False))
    assert needed < 0.3 * data.nbytes


def test_despiking_in_place_takes_some_slices(data):
    run = data.copy(order="F")
    assert peak(lambda: despike(run, copy=False)) < 0.5 * data.nbytes


def test_confounds_take_at_most_one_copy_of_the_series(data, monkeypatch):
    monkeypatch.setattr(confounds, "BLOCK", data.size // 50)
    series = data.reshape(-1, SHAPE[3], order="F").T
    assert peak(lambda: dvars(series)) < 1.2 * series.nbytes
    assert peak(lambda: compcor(series)) < 0.3 * series.nbytes
