"""A value that equals a limit meets it; a value that is not a number never does."""

import numpy as np
import pytest

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed
from brainmass_core.preprocess.functional.head import Moved
from brainmass_core.preprocess.quality_control.criteria import (
    refuse_motion,
    refuse_noise,
    refuse_registration,
    refuse_stranger,
)


def moved(*fd):
    displacement = {"framewise_displacement": np.array([np.nan, *fd])}
    nothing = np.empty(0)
    return Moved(nothing, None, nothing, nothing, displacement)


def test_exactly_the_share_of_moving_volumes_that_is_allowed_passes():
    settings = Preprocess(max_censored_fraction=0.25, fd_threshold=0.5, max_mean_fd=None)
    refuse_motion(moved(0.9, 0.1, 0.5), settings, "run")  # 0.5 is not above 0.5
    with pytest.raises(ScanExcluded, match="50% of the volumes"):
        refuse_motion(moved(0.9, 0.1, 0.51), settings, "run")


def test_exactly_the_mean_displacement_that_is_allowed_passes():
    settings = Preprocess(max_censored_fraction=None, max_mean_fd=0.5)
    refuse_motion(moved(0.25, 0.75), settings, "run")
    with pytest.raises(ScanExcluded, match=r"0\.505 mm is above"):
        refuse_motion(moved(0.26, 0.75), settings, "run")


def test_exactly_the_noise_that_is_allowed_passes():
    settings = Preprocess(max_std_dvars=2.0, min_tsnr=20.0)
    refuse_noise({"std_dvars": 2.0, "tsnr": 20.0}, settings, "run")
    with pytest.raises(ScanExcluded, match="DVARS"):
        refuse_noise({"std_dvars": 2.1, "tsnr": 20.0}, settings, "run")
    with pytest.raises(ScanExcluded, match="SNR"):
        refuse_noise({"std_dvars": 2.0, "tsnr": 19.9}, settings, "run")
    for unknown in ({"std_dvars": np.nan, "tsnr": 20.0}, {"std_dvars": 2.0, "tsnr": np.nan}):
        with pytest.raises(ScanExcluded, match="nan"):
            refuse_noise(unknown, settings, "run")


def test_an_overlap_or_a_sharpness_below_its_limit_fails():
    settings = Preprocess(min_mask_dice=0.8, min_coregistration_sharpness=0.1)
    refuse_registration(0.8, settings, "run")
    refuse_stranger(0.1, settings, "run")
    with pytest.raises(ScanFailed, match="Dice"):
        refuse_registration(0.79, settings, "run")
    for sharpness in (0.09, np.nan):
        with pytest.raises(ScanFailed, match="sharp"):
            refuse_stranger(sharpness, settings, "run")
