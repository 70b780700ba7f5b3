"""Section ``timeseries``: from BOLD to clean parcel series."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from brainmass_core.config.base import Strict


class Censor(Strict):
    """Censoring of volumes with much motion.

    They are found by framewise displacement and standardised DVARS. A run with too little data left
    is excluded.
    """

    method: Literal["none", "spike_regression", "interpolate", "remove"] = Field(
        "none",
        description="`none`: they are only counted; `spike_regression`: one regressor each; "
        "`interpolate`: series and regressors are interpolated by a spline over time before "
        "regression and filter, and the volumes removed afterwards; `remove`: excluded from the "
        "regression, interpolated in its residual for the filter, and then removed (Power 2014).",
    )
    fd_kind: Literal["power", "jenkinson"] = Field(
        "power",
        description="`framewise_displacement` (Power 2012) or `rmsd` (Jenkinson 1999, about half "
        "of it); one is never used instead of the other.",
    )
    fd_threshold: float = Field(0.5, gt=0, description="mm.")
    std_dvars_threshold: float | None = Field(
        None, gt=0, description="Standardised DVARS; not used by default."
    )
    n_before: int = Field(0, ge=0, description="Volumes censored before each of these.")
    n_after: int = Field(0, ge=0, description="Volumes censored after each of these.")
    min_contiguous: int = Field(
        1, ge=1, description="Remaining segments with fewer volumes are censored too."
    )
    min_minutes: float = Field(
        0, ge=0, description="Runs with less than this number of minutes left are excluded."
    )


class Timeseries(Strict):
    """From BOLD to clean parcel series: one interpolation, parcel means, nuisance regression."""

    denoise: str = Field(
        "cpac-default", description="Name of this set of choices, written to the results."
    )
    motion: Literal["none", "6", "24_lag", "24_derivative"] = Field(
        "24_lag",
        description="Motion regressors: `24_lag` is Friston-24 as in C-PAC, `24_derivative` as in "
        "fMRIPrep.",
    )
    signal_expansion: bool = Field(
        False,
        description="Also derivatives and squares of the selected signals among `csf`, "
        "`white_matter` and `global_signal`: with all three and motion `24_derivative`, the 36 "
        "parameters of Satterthwaite 2013.",
    )
    n_compcor: int = Field(5, ge=0, description="aCompCor components from white matter and CSF.")
    csf: bool = Field(True, description="Mean CSF signal as a regressor.")
    white_matter: bool = Field(False, description="Mean white-matter signal as a regressor.")
    global_signal: bool = Field(False, description="Global signal as a regressor.")
    polynomial_order: int = Field(2, ge=0, le=5, description="Order of the polynomial drift.")
    low_hz: float | None = Field(0.01, gt=0, description="Lower band-pass limit in Hz.")
    high_hz: float | None = Field(0.1, gt=0, description="Upper band-pass limit in Hz.")
    order: Literal["regress_then_filter", "joint"] = Field(
        "regress_then_filter",
        description="`regress_then_filter` as in C-PAC: the filter reintroduces part of the "
        "confounds; `joint` as in nilearn: no reintroduction, but fewer degrees of freedom remain.",
    )
    filter: Literal["ideal", "butterworth", "cosine"] = Field(
        "ideal",
        description="`ideal`: Fourier bins, as C-PAC; `butterworth`: order 5, forwards and "
        "backwards, as nilearn; `cosine`: high-pass by regression of slow cosines (needs "
        "`high_hz: null`).",
    )
    censor: Censor = Censor()
    smoothing_fwhm: float | None = Field(
        None, gt=0, description="Gaussian smoothing of each volume in mm, before averaging."
    )
    resolution: float = Field(
        3.0, ge=1, le=6, description="Voxel edge in mm of the grid on which parcels are averaged."
    )
    min_coverage: float = Field(
        0.1,
        ge=0,
        le=1,
        description="A parcel with a smaller covered fraction counts as empty and is set to NaN. "
        "Signal loss above the sinuses and ears reduces the coverage of limbic parcels to 0.2 to "
        "0.5 in ordinary runs; the table has each parcel's coverage.",
    )
    max_empty_rois: int = Field(
        0, ge=0, description="Scans with more empty or constant parcels are excluded."
    )
    derivatives: bool | None = Field(
        None,
        description="Also write each scan's series and FC as BIDS derivatives (`_timeseries.tsv`, "
        "`_relmat.tsv`, sidecars; about 0.4 MB per scan); false writes only the tables. Default: "
        "true, or false in a study of more than 2,000 scans.",
    )

    @property
    def writes_derivatives(self) -> bool:
        """`derivatives`, where null means a small study."""
        return self.derivatives is not False

    @model_validator(mode="after")
    def _band(self) -> Timeseries:
        if self.low_hz and self.high_hz and self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz {self.low_hz} must be below high_hz {self.high_hz}")
        if self.filter == "cosine" and self.high_hz is not None:
            raise ValueError("filter: cosine is a high-pass; set high_hz to null")
        return self
