"""The sections of a scan's page; each draws its content, or states what is missing."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from zipfile import BadZipFile

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from brainmass_core.atlas.parcels import network_order
from brainmass_core.checksums import ChecksumError, check_file
from brainmass_core.drawing import NotAvailableError
from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.anatomical.template import template_of
from brainmass_core.preprocess.grids import Volume, load_image
from brainmass_core.preprocess.quality_control.carpet import load_carpet
from brainmass_core.preprocess.transform_files import load_transforms
from brainmass_core.preprocess.transforms import ScanTransforms
from brainmass_core.quality import brain, matrices, traces
from brainmass_core.quality.brain import Head, Tile
from brainmass_core.quality.embed import chart, rich_chart
from brainmass_core.quality.inputs import QualityInput
from brainmass_core.timeseries.censor import censored_volumes
from brainmass_core.timeseries.denoise import clean
from brainmass_core.timeseries.design import design_matrix
from brainmass_core.timeseries.inputs import read_confounds
from brainmass_core.timeseries.motion_limits import steady

# files that are read together
TRANSFORMS = ("normalisation", "coregistration", "motion", "distortion")
# of WebP; low because noise compresses poorly and single voxels do not matter
CARPET_QUALITY = 40
# errors of missing, truncated or invalid files
UNREADABLE = (
    *(NotAvailableError, ScanFailed, OSError, ValueError, KeyError, EOFError, BadZipFile),
    *(zlib.error, nib.filebasedimages.ImageFileError),
)


@dataclass(frozen=True)
class Section:
    """One block of the page.

    Attributes
    ----------
    uri : str
        The chart; empty if there are tiles or no content.
    tiles : list of Tile
    frames : tuple of str
        Names of the two frames of alternating tiles.
    missing : str
        Why there is no content.
    scale : tuple of str
        Texts at the ends of the colour bar; empty without one.
    """

    key: str
    title: str
    note: str
    uri: str = ""
    tiles: list[Tile] = field(default_factory=list)
    frames: tuple[str, ...] = ()
    missing: str = ""
    scale: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """Files of a scan, each read once and only when a section needs it."""

    item: QualityInput
    unchanged: set[str] = field(default_factory=set, compare=False)

    def path(self, name: str) -> Path:
        """A derivative's path, after verifying its checksum once.

        Raises
        ------
        NotAvailableError
            If the scan has none, or it does not match its checksum.
        """
        if name not in self.item.files:
            raise NotAvailableError(_why_missing(self.item, name))
        path, done = Path(self.item.files[name]), self.item.preprocessed
        if name not in self.unchanged and name in dict(done.get("outputs") or []):
            try:
                check_file(path, dict(done.get("sha256") or []).get(name))
            except ChecksumError as error:
                raise NotAvailableError(
                    f"{error}; run preprocess again for this data set"
                ) from None
            self.unchanged.add(name)
        return path

    @cached_property
    def head(self) -> Head:
        """T1w and tissues."""
        return Head(load_image(self.path("t1w_preproc")), load_image(self.path("tissue")))

    @cached_property
    def boldref(self) -> Volume:
        """Reference volume of the run."""
        return load_image(self.path("boldref"))

    @cached_property
    def confounds(self) -> pd.DataFrame:
        """Confounds of the volumes in the steady state, one row per volume."""
        n_volumes = self.item.preprocessed.get("n_volumes") or self.item.scan["n_volumes"]
        return steady(read_confounds(self.path("confounds"), n_volumes))[1]

    @cached_property
    def timeline(self) -> traces.Timeline:
        """Data for the charts over time."""
        settings = self.item.config.timeseries.censor
        try:
            censored = censored_volumes(self.confounds, settings)
        except ValueError:  # a table without displacement: no volumes can be shaded
            censored = None
        if censored is None:
            censored = np.zeros(len(self.confounds), dtype=bool)
        return traces.Timeline(
            confounds=self.confounds,
            censored=censored,
            fd_threshold=settings.fd_threshold,
            dvars_threshold=settings.std_dvars_threshold,
            t_r=self.item.series.get("t_r") or self.item.scan["t_r"] or float("nan"),
        )


def sections_of(item: QualityInput) -> list[Section]:
    """All sections, in the order of the page."""
    found = Sources(item)
    return [draw(found) for draw in SECTIONS.values()]


def _guarded(empty: Section, fill: Callable[[], dict]) -> Section:
    """The section with the content of `fill`, or with the reason why there is none."""
    try:
        return Section(empty.key, empty.title, empty.note, **fill())
    except UNREADABLE as error:
        text = str(error) or type(error).__name__
        return Section(empty.key, empty.title, empty.note, missing=text)


def _why_missing(item: QualityInput, name: str) -> str:
    kind = item.scan["kind"]
    if kind != "bids":
        return f"A data set of kind {kind} has no such file ({name})."
    if not item.files:
        return f"The scan did not get far enough in preprocess to leave this ({name})."
    minimal = item.config.preprocess.derivatives == "minimal"
    why = " preprocess.derivatives is minimal." if minimal else ""
    return f"preprocess has not written this ({name}).{why}"


def _outlines(found: Sources) -> Section:
    empty = Section(
        "outlines",
        "Brain and tissues on the T1w",
        "Brain red, white matter yellow, CSF blue. Left of the picture is left of the head; "
        "coordinates in mm.",
    )
    return _guarded(empty, lambda: {"tiles": brain.outlines(found.head)})


def _template(found: Sources) -> Section:
    empty = Section(
        "template",
        "T1w and template",
        "The T1w in template space alternates with the template; the template's brain is red, its "
        "white matter yellow. Structures should not move.",
    )

    def fill() -> dict:
        settings = found.item.config.preprocess
        moved = _transforms(found)
        model = template_of(settings)
        tiles = brain.template_flicker(found.head, model, moved.normalisation)
        return {"tiles": tiles, "frames": ("T1w", "template")}

    return _guarded(empty, fill)


def _coregistration(found: Sources) -> Section:
    empty = Section(
        "coregistration",
        "BOLD and T1w",
        "The BOLD reference, resampled to the T1w, alternates with it; the T1w's brain is red, "
        "its white matter yellow. The white-matter boundary should match an edge in the BOLD.",
    )

    def fill() -> dict:
        found.path("coregistration")
        moved = _transforms(found)
        place = (found.boldref, moved.t1w_to_boldref, moved.distortion)
        return {"tiles": brain.bold_flicker(found.head, *place), "frames": ("BOLD", "T1w")}

    return _guarded(empty, fill)


def _transforms(found: Sources) -> ScanTransforms:
    needed = [n for n in TRANSFORMS if n != "distortion" or n in found.item.files]
    return load_transforms(found.item.results, {n: str(found.path(n)) for n in needed})


def _bold_mask(found: Sources) -> Section:
    empty = Section("bold_mask", "Brain mask of the BOLD", "The run's reference on its own grid.")
    return _guarded(
        empty,
        lambda: {"tiles": brain.mask_tiles(found.boldref, load_image(found.path("bold_mask")))},
    )


def _motion(found: Sources) -> Section:
    empty = Section(
        "motion",
        "Motion and signals",
        "Shaded: volumes that exceed the criteria of timeseries.censor. Dashed: thresholds.",
    )
    return _guarded(empty, lambda: {"uri": chart(partial(traces.motion_chart, found.timeline))})


def _carpet(found: Sources) -> Section:
    item = found.item
    has_voxels = "carpet" in item.files
    note = (
        f"A sample of voxels, signal change from black (-{traces.CARPET_LIMIT:g} %) to white "
        f"(+{traces.CARPET_LIMIT:g} %). Vertical stripes are simultaneous changes of the entire "
        "brain."
        if has_voxels or item.bold is None
        else "Clean parcel series, standardised; no sample of voxels was kept for this scan."
    )
    empty = Section("carpet", "Carpet", note)

    def fill() -> dict:
        if has_voxels or item.bold is None:
            return {"uri": rich_chart(_voxel_carpet(found), CARPET_QUALITY)}
        assert item.labels is not None
        order, n = network_order(item.labels["network"]), item.labels["network"].nunique()
        make = partial(traces.parcel_carpet_chart, item.bold, order, n)
        return {"uri": rich_chart(make, CARPET_QUALITY)}

    return _guarded(empty, fill)


def _voxel_carpet(found: Sources) -> Callable[[], Figure]:
    carpet = load_carpet(found.path("carpet"))
    before = carpet["series"].astype(np.float64)
    censored = found.timeline.censored
    after = cleaned(before, found) if found.item.series.get("status") == "ok" else None
    return partial(traces.carpet_chart, before, after, carpet["tissue"], censored)


def cleaned(series: np.ndarray, found: Sources) -> np.ndarray:
    """Voxel series (n_volumes, n_voxels) after the same denoising as the time series.

    Returns
    -------
    ndarray (n_volumes, n_voxels)
        NaN for removed volumes.
    """
    settings = found.item.config.timeseries
    censored = censored_volumes(found.confounds, settings.censor)
    done = clean(
        series,
        found.timeline.t_r,
        design_matrix(found.confounds, settings).to_numpy(),
        *(settings.low_hz, settings.high_hz, settings.order),
        kind=settings.filter,
        n_drift=settings.polynomial_order + 1,
        censored=censored,
        method=settings.censor.method,
    )
    whole = np.full(series.shape, np.nan)
    whole[done.kept] = done.series
    return whole


def _tsnr(found: Sources) -> Section:
    empty = Section("tsnr", "Temporal signal-to-noise ratio", "Dark regions have lost signal.")

    def fill() -> dict:
        tiles, top = brain.tsnr_tiles(load_image(found.path("tsnr")))
        return {"tiles": tiles, "scale": ("0", f"{top:.0f}")}

    return _guarded(empty, fill)


def _confounds(found: Sources) -> Section:
    empty = Section(
        "confounds",
        "Correlation of confounds",
        "Signals that correlate with motion (FD, DVARS) contribute motion effects to data from "
        "which they are not regressed out.",
    )
    return _guarded(
        empty, lambda: {"uri": rich_chart(partial(matrices.confound_chart, found.confounds))}
    )


def _coverage(found: Sources) -> Section:
    item, limit = found.item, found.item.config.timeseries.min_coverage
    empty = Section(
        "coverage",
        "Coverage of the parcels",
        f"Covered fraction of each parcel; below {limit:g} (dashed) it counts as empty.",
    )

    def fill() -> dict:
        coverage = item.series.get("coverage")
        if coverage is None or item.labels is None:
            raise NotAvailableError("The scan has no time series.")
        make = partial(matrices.coverage_chart, np.asarray(coverage), item.labels, limit)
        return {"uri": chart(make)}

    return _guarded(empty, fill)


def _fc(found: Sources) -> Section:
    item = found.item
    empty = Section(
        "fc", "Functional connectivity", "All pairs of parcels, and the distribution of values."
    )

    def fill() -> dict:
        if item.fc is None or item.labels is None:
            raise NotAvailableError("The scan has no functional connectivity.")
        return {"uri": chart(partial(matrices.fc_chart, item.fc, item.labels))}

    return _guarded(empty, fill)


SECTIONS: dict[str, Callable[[Sources], Section]] = {
    "outlines": _outlines,
    "template": _template,
    "coregistration": _coregistration,
    "bold_mask": _bold_mask,
    "motion": _motion,
    "carpet": _carpet,
    "tsnr": _tsnr,
    "confounds": _confounds,
    "coverage": _coverage,
    "fc": _fc,
}
