"""Non-steady-state volumes are counted as in nipype, unless magnetisation cannot be the cause."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nipype.algorithms.confounds import NonSteadyStateDetector

from brainmass_core.preprocess.functional.bold import load_bold
from brainmass_core.preprocess.functional.steady_state import global_signal, non_steady_volumes


def run(n_bright: int, n_volumes: int = 60, seed: int = 0) -> np.ndarray:
    """A run whose first volumes are brighter, decaying exponentially (longitudinal relaxation)."""
    rng = np.random.default_rng(seed)
    data = 500 + rng.normal(0, 5, (6, 7, 5, n_volumes)) + rng.normal(0, 1, n_volumes)
    data[..., :n_bright] *= 1 + 0.3 * np.exp(-np.arange(n_bright) / 2)
    return data.astype(np.float32)


@pytest.mark.parametrize("n_bright", [0, 1, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_their_number_is_nipype_s(tmp_path: Path, n_bright: int, seed: int):
    path = tmp_path / "bold.nii"
    nib.save(nib.Nifti1Image(run(n_bright, seed=seed), np.eye(4)), path)
    theirs = NonSteadyStateDetector(in_file=str(path)).run(cwd=str(tmp_path))
    bold = load_bold(path, "auto", t_r=2.0)
    assert bold.n_dummy_volumes == theirs.outputs.n_volumes_to_discard == n_bright
    assert bold.data.shape[3] == 60 - n_bright


@given(level=st.floats(1, 1e6), n_bright=st.integers(0, 6))
def test_their_number_does_not_depend_on_the_scanner_s_scale(level, n_bright):
    signal = global_signal(run(n_bright))
    assert non_steady_volumes(level * signal, 2.0) == n_bright


def test_bright_volumes_later_in_the_run_are_no_dummies():
    signal = global_signal(run(0))
    signal[5:9] *= 1.3
    assert non_steady_volumes(signal, 2.0) == 0


def test_what_lasts_too_long_is_said_and_not_dropped(caplog):
    signal = global_signal(run(0))
    signal[:18] += 100  # a step: the scanner's gain or the head, not the magnetisation
    assert non_steady_volumes(signal, 2.0, "sub-1_bold.nii.gz") == 0
    assert "sub-1_bold.nii.gz" in caplog.text
    assert "first 18 volumes" in caplog.text
    assert non_steady_volumes(signal, 0.8) == 18  # 14 s


def test_a_constant_signal_has_none():
    assert non_steady_volumes(np.full(60, 7.0)) == 0


@pytest.mark.shared
def test_studyforrest_starts_in_its_steady_state(shared_data):
    path = next((shared_data / "bids_studyforrest_sub02").rglob("*_bold.nii.gz"))
    image = nib.load(path)
    first = np.asarray(image.dataobj[..., :50], dtype=np.float32)
    assert non_steady_volumes(global_signal(first), 2.0) == 0
