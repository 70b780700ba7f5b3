"""The repetition time of a run, from its sidecar, its header and the configuration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from brainmass_core.pipeline.manifest import ScanExcluded
from brainmass_core.readers.limits import quoted
from brainmass_core.scans.image import Header

SHORTEST_T_R, LONGEST_T_R = 0.1, 20.0  # s; values outside are in another unit by mistake


def choose_t_r(
    path: Path,
    sidecar: dict[str, Any],
    header: Header,
    tolerance: float,
    configured: float | None = None,
    derived: bool = False,
) -> float:
    """The repetition time of a run, in s.

    The sources, by priority, are ``RepetitionTime`` of the sidecar, the NIfTI header and the
    configured value. Sources must agree within the tolerance; without a sidecar, a configured value
    that agrees with the header is used as written, because headers have single precision. The
    header of derivatives is ignored if it is exactly 1 s or implausible and the sidecar has a
    value: programs that write derivatives often do not set it.

    Parameters
    ----------
    tolerance : float
        Largest difference in s.
    configured : float, optional
        ``t_r`` of the data set's configuration.
    derived : bool
        Whether a pipeline has written the image and its sidecar.

    Raises
    ------
    ScanExcluded
        If t_r is missing, zero, not a number, implausible or contradictory; if it is only
        in a header, as exactly 1 s; or if the sidecar has ``VolumeTiming``, so that volumes are not
        evenly spaced.
    """
    if "VolumeTiming" in sidecar:
        raise ScanExcluded(
            f"{path}: the sidecar has VolumeTiming: volumes are not evenly spaced, which "
            "connectivity with a band-pass filter needs",
            "t_r",
        )
    stated = _stated(path, sidecar, header)
    if stated is None:
        return _without_sidecar(path, header, tolerance, configured)
    stated = _plausible(path, stated, header)  # first: 2000 ms and 2 s are the same time
    left_behind = derived and not any(is_plausible(h) and h != 1 for h in header.t_r)
    if header.t_r and not left_behind and not _agrees(stated, header, tolerance):
        raise ScanExcluded(
            f"{path}: contradictory t_r: {stated:g} s in the sidecar, {header.t_r_text} in the "
            f"NIfTI header, more than t_r_tolerance {tolerance:g} s apart; find out which is "
            "right and correct the other",
            "t_r",
        )
    if configured is not None and abs(configured - stated) > tolerance + 1e-9:
        raise _other_than_configured(path, configured, f"{stated:g} s in the sidecar", tolerance)
    return stated


def is_plausible(t_r: float) -> bool:
    """Whether a repetition time (s) is possible in fMRI, and so in the correct unit."""
    return SHORTEST_T_R <= t_r <= LONGEST_T_R


def _stated(path: Path, sidecar: dict[str, Any], header: Header) -> float | None:
    stated = sidecar.get("RepetitionTime")
    if stated is None:
        return None
    number = isinstance(stated, int | float) and not isinstance(stated, bool)
    if not number or not math.isfinite(stated) or stated <= 0:
        raise ScanExcluded(
            f"{path}: RepetitionTime in the sidecar is {quoted(stated)} (header: "
            f"{header.t_r_text}), expected seconds > 0; correct the sidecar",
            "t_r",
        )
    return float(stated)


def _without_sidecar(
    path: Path, header: Header, tolerance: float, configured: float | None
) -> float:
    if configured is None:
        if header.t_r == (1.0,):
            raise ScanExcluded(
                f"{path}: no t_r: RepetitionTime is missing in the sidecar, and the NIfTI header "
                f"gives {header.t_r_text}, which is also its default; add RepetitionTime (s) to "
                "the sidecar; or, if it is 1 s, set t_r: 1 for the data set",
                "t_r",
            )
        return _plausible(path, header.t_r[0] if header.t_r else None, header)
    if header.t_r and not _agrees(configured, header, tolerance):
        said = f"{header.t_r_text} in the NIfTI header"
        raise _other_than_configured(path, configured, said, tolerance)
    return _plausible(path, configured, header)


def _agrees(t_r: float, header: Header, tolerance: float) -> bool:
    return any(abs(h - t_r) <= tolerance + 1e-9 for h in header.t_r)


def _other_than_configured(
    path: Path, configured: float, said: str, tolerance: float
) -> ScanExcluded:
    return ScanExcluded(
        f"{path}: contradictory t_r: {configured:g} s as t_r of the data set in the configuration, "
        f"{said}, more than t_r_tolerance {tolerance:g} s apart; find out which is right and "
        "correct "
        "the other: RepetitionTime in a sidecar, the header, or t_r",
        "t_r",
    )


def _plausible(path: Path, t_r: float | None, header: Header) -> float:
    if t_r is None:
        raise ScanExcluded(
            f"{path}: no t_r: RepetitionTime is missing in the sidecar and the NIfTI header gives "
            f"{header.t_r_text}; add RepetitionTime (s) to the sidecar, or set t_r of the data set",
            "t_r",
        )
    if not is_plausible(t_r):
        unit = "milliseconds" if t_r > LONGEST_T_R else "another unit"
        raise ScanExcluded(
            f"{path}: t_r is {t_r:g} s (header: {header.t_r_text}), expected {SHORTEST_T_R:g} to "
            f"{LONGEST_T_R:g} s; BIDS requires seconds, not {unit}: "
            "correct the sidecar, or the unit "
            "of the header",
            "t_r",
        )
    return t_r
