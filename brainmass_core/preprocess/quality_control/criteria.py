"""What excludes a run of raw BIDS: framewise displacement, DVARS, temporal SNR.

The criteria for derivatives are in `timeseries.motion_limits`. Runs of both kinds are also excluded
by `timeseries` if censoring of framewise displacement leaves too few minutes.

Each function raises an error with the numbers, the setting and the remedy. A `Refusals` keeps the
first refusal, so that a refused run is still processed up to its pictures, and its quality page
shows why.

A run is *excluded* if it was processed but does not meet a criterion of the configuration; it has
*failed* if something went wrong that a person should check, such as its registration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed
from brainmass_core.preprocess.functional.head import Moved

# errors of steps on invalid images; not a full disk or a lack of memory
BROKEN = (ValueError, RuntimeError, ArithmeticError)


class Refusals:
    """The first refusal of a run, kept until its derivatives are written.

    Attributes
    ----------
    refusal : ScanFailed or None
    """

    def __init__(self) -> None:
        self.refusal: ScanFailed | None = None

    def check(self, check: Callable[..., None], *about: Any) -> None:
        """Call a check and keep what it raises, unless something was refused before."""
        try:
            check(*about)
        except ScanFailed as refusal:
            self.refusal = self.refusal or refusal

    @contextmanager
    def explains(self) -> Iterator[None]:
        """Replace errors of later steps by the refusal of a run that was already refused.

        Raises
        ------
        ScanFailed
            The refusal, instead of the step's error.
        """
        try:
            yield
        except BROKEN:
            self.raise_first()
            raise

    def raise_first(self) -> None:
        """Raise the refusal, if there is one."""
        if self.refusal is not None:
            raise self.refusal from None


def refuse_motion(moved: Moved, settings: Preprocess, path: str) -> None:
    """Raise `ScanExcluded` for a run with too much motion."""
    fd = moved.displacement["framewise_displacement"]
    n_censored = moved.n_censored(settings.fd_threshold)
    told = (
        f"(largest {np.nanmax(fd):.2f} mm; {n_censored} of {len(fd)} volumes above "
        f"{settings.fd_threshold:g} mm)"
    )
    limit = settings.max_mean_fd
    if limit is not None and moved.mean_fd > limit:
        raise ScanExcluded(
            f"{path}: mean framewise displacement {moved.mean_fd:.3f} mm is above "
            f"preprocess.max_mean_fd {limit:g} mm {told}",
            "motion",
        )
    share = settings.max_censored_fraction
    if share is not None and n_censored > share * len(fd):
        raise ScanExcluded(
            f"{path}: {n_censored / len(fd):.0%} of the volumes move too much, above "
            f"preprocess.max_censored_fraction {share:g} {told}",
            "motion",
        )


def refuse_noise(quality: dict[str, Any], settings: Preprocess, path: str) -> None:
    """Raise `ScanExcluded` for a run with too much noise.

    Parameters
    ----------
    quality : dict
        ``std_dvars`` and ``tsnr``.
    """
    most, least = settings.max_std_dvars, settings.min_tsnr
    if (
        most is not None and not quality["std_dvars"] <= most
    ):  # also true for NaN, if nothing varies
        raise ScanExcluded(
            f"{path}: mean standardised DVARS {quality['std_dvars']:.2f} is above "
            f"preprocess.max_std_dvars {most:g}",
            "confounds",
        )
    if least is not None and not quality["tsnr"] >= least:
        raise ScanExcluded(
            f"{path}: median temporal SNR {quality['tsnr']:.1f} is below "
            f"preprocess.min_tsnr {least:g}",
            "confounds",
        )


def refuse_registration(dice: float, settings: Preprocess, path: str) -> None:
    """Raise `ScanFailed` if template and BOLD do not overlap."""
    if dice < settings.min_mask_dice:
        raise ScanFailed(
            f"{path}: the BOLD's brain and the template's overlap with a Dice of {dice:.3f}, "
            f"expected at least preprocess.min_mask_dice {settings.min_mask_dice:g}: registration "
            "failed",
            "coregistration",
            "check T1w and BOLD: same person, complete head, correct orientation?",
        )


def refuse_stranger(sharpness: float, settings: Preprocess, path: str) -> None:
    """Raise `ScanFailed` if the coregistration is not sharp: the T1w may be of another person."""
    least = settings.min_coregistration_sharpness
    if least is not None and not sharpness >= least:
        raise ScanFailed(
            f"{path}: the coregistration with the T1w is not sharp: the boundary cost rises by "
            f"{sharpness:.3f} when the T1w is shifted, expected at least "
            f"preprocess.min_coregistration_sharpness {least:g}",
            "coregistration",
            "check T1w and BOLD: are they of the same person, and both sharp?",
        )
