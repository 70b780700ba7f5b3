"""The contract of a deployed model: what it predicts, from which input, and its processing.

It contains numbers of participants, but no participant's name, site table or phenotype.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from brainmass_core.atlas import Atlas
from brainmass_core.checksums import FIELD, ChecksumError, check_seal, sealed
from brainmass_core.config import Config, Task
from brainmass_core.config.base import Strict
from brainmass_core.config.preprocess import Preprocess
from brainmass_core.config.sections import Connectivity
from brainmass_core.config.timeseries import Timeseries
from brainmass_core.encoders.interface import Architecture, implementation_of
from brainmass_core.encoders.registry import encoders, owner_of, scaled_series
from brainmass_core.predict.input_transform import Series
from brainmass_core.readers.files import FileError
from brainmass_core.readers.limits import quoted
from brainmass_core.readers.sidecar import read_object
from brainmass_core.tables import atomic_path

FILE = "contract.json"
FORMAT = 1
PLAIN = ("fc", "fc_for_model", "series")  # features without a frozen encoder
REMEDY = "copy the folder again, or make it again: snakemake --cores all finetune"
# settings that only affect exclusions or output files, not the processing of scans
CRITERIA = {
    *("min_volumes", "max_mean_fd", "fd_threshold", "max_censored_fraction", "max_std_dvars"),
    *("min_tsnr", "min_mask_dice", "min_template_correlation", "min_t1w_coverage"),
    *("min_brain_volume", "max_brain_volume", "max_coregistration_cost"),
    *("min_coregistration_sharpness", "derivatives", "write_bold", "bold_resolution"),
}
SERIES_CRITERIA = {"denoise", "derivatives", "max_empty_rois", "min_coverage"}


class ContractError(ValueError):
    """A model folder cannot be used."""


class Parcels(Strict):
    """The atlas of a model.

    Attributes
    ----------
    name, configured : str
        Name in the tables, and in the configuration.
    sha256 : str
        Of the label image, or of the label table if there is no image.
    table : list of dict
        One per parcel: index, name, network, x, y, z (mm; None if unknown).
    """

    name: str
    configured: str
    space: str | None
    sha256: str
    approximate: bool
    table: list[dict[str, int | str | float | None]] = Field(min_length=2)

    @classmethod
    def of(cls, atlas: Atlas, configured: str) -> Parcels:
        """The parcels of an atlas."""
        labels = atlas.labels.astype(object).where(atlas.labels.notna(), None)
        return cls(
            name=atlas.name,
            configured=configured,
            space=atlas.space,
            sha256=atlas.sha256,
            approximate=atlas.approximate,
            table=json.loads(labels.to_json(orient="records", double_precision=10)),
        )

    @property
    def n_rois(self) -> int:
        """Number of parcels."""
        return len(self.table)

    @property
    def names(self) -> list[str]:
        """Names of the parcels in order."""
        return [str(row["name"]) for row in self.table]


class Processing(Strict):
    """Processing of series: columns of the time-series table; None if unknown."""

    denoise: str | None = None
    order: str | None = None
    filter: str | None = None
    censor: str | None = None


class Contract(Strict):
    """Contract of a deployed model, see the module.

    Attributes
    ----------
    label, classes, transform
        Column of the target, its classes in order (empty for a regression), and the
        transformation of the target.
    features : str
        Features of the method: one of `PLAIN`, or of an encoder.
    encoder : dict or None
        Architecture of a frozen encoder of FC, see `architecture`.
    series : Series or None
        Input transform of recordings, for a model on series; None for a model on FC.
    processing : dict
        Kind of data set to the settings that produced its series, one entry per variant.
    done : list of Processing
        Processing of the training scans according to their tables.
    t_r : (float, float) or None
        Smallest and largest of the training scans, s.
    confounds, confound_columns
        Adjustment for confounds; columns that a new scan must have.
    sites
        Names of the training sites, ``dataset/site``, if site is one of these columns.
    sexes
        Those of the training scans, if sex is one of these columns; None: not recorded.
    missing_values
        Codes of missing values of the training data sets, for the confounds of new scans.
    scores : dict
        Method to its cross-validated scores.
    probe : list of list of float
        Scores of synthetic input, to check a model when it is loaded.
    files : dict
        Name of each other file to its sha256.
    """

    # an interval of too few people is not known, NaN
    model_config = ConfigDict(allow_inf_nan=True)

    format: Literal[1] = 1
    task: str
    kind: Literal["classification", "regression"]
    label: str
    classes: list[str]
    transform: str
    method: str
    features: str
    encoder: dict[str, Any] | None
    series: Series | None = None
    atlas: Parcels
    connectivity: Connectivity
    timeseries: Timeseries
    preprocess: Preprocess
    processing: dict[str, list[dict[str, Any]]] = Field(min_length=1)
    done: list[Processing] = Field(min_length=1)
    t_r: tuple[float, float] | None
    confounds: str
    confound_columns: list[str]
    sites: list[str]
    sexes: list[str] | None = None
    missing_values: list[int | float | str] = Field(default_factory=list)
    n_participants: int = Field(ge=1)
    n_scans: int = Field(ge=1)
    n_per_class: dict[str, int]
    protocol: str
    scores: dict[str, dict[str, float | None]]
    probe: list[list[float]]
    config_hash: str
    versions: dict[str, str]
    files: dict[str, str]

    @field_validator("features")
    @classmethod
    def _known(cls, features: str) -> str:
        known = [*PLAIN, *(name for encoder in encoders() for name in encoder.features)]
        if features not in known:
            raise ValueError(f"found {quoted(features)}, expected one of {', '.join(known)}")
        return features

    @field_validator("encoder", "series")
    @classmethod
    def _of_its_encoder(cls, given: Any, info: ValidationInfo) -> Any:
        about = given.encoder if isinstance(given, Series) else given
        owner = owner_of(info.data.get("features", ""))
        if about is not None and owner is None:
            raise ValueError("found an encoder, expected none with these features")
        if about is not None and owner is not None:
            try:
                implementation_of(owner).architecture.model_validate(about)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, ("encoder", *first["loc"])))
                raise ValueError(f"{where}: {first['msg']}") from None
        return given

    @model_validator(mode="after")
    def _fits(self) -> Contract:
        if (self.series is not None) != scaled_series(self.features):
            raise ValueError(f"features {self.features} do not go with series {self.series}")
        if self.series and len(self.series.coordinates) != self.atlas.n_rois:
            raise ValueError(
                f"series of {len(self.series.coordinates)} parcels, atlas of {self.atlas.n_rois}"
            )
        if len({len(scores) for scores in self.probe}) > 1:
            raise ValueError("probe: rows of different lengths, expected one score per class")
        return self

    @property
    def architecture(self) -> Architecture | None:
        """Architecture of the frozen encoder; None if there is none."""
        owner = owner_of(self.features)
        about = self.series.encoder if self.series else self.encoder
        if owner is None or about is None:
            return None
        return implementation_of(owner).architecture.model_validate(about)

    @property
    def n_edges(self) -> int:
        """Number of edges of the FC."""
        return self.atlas.n_rois * (self.atlas.n_rois - 1) // 2

    @property
    def low_passed(self) -> bool:
        """Whether every training series was low-pass filtered by brainmass."""
        variants = [v for variants in self.processing.values() for v in variants]
        return all(v.get("high_hz") is not None for v in variants)


def processing_of(config: Config, dataset: str) -> dict[str, Any]:
    """Settings that affect the processing of the series of a data set.

    Returns
    -------
    dict
        Setting to value; those of `preprocess` only for raw BIDS, and only the filter for ready
        series.
    """
    section, series = config.datasets[dataset], config.timeseries
    if section.kind == "timeseries":
        if not section.band_pass:
            return {"band_pass": False}
        return {"band_pass": True} | series.model_dump(
            mode="json", include={"low_hz", "high_hz", "filter"}
        )
    found = series.model_dump(mode="json", exclude=SERIES_CRITERIA)
    if section.kind == "bids":
        estimated = config.preprocess.model_dump(mode="json", exclude=CRITERIA)
        found |= {f"preprocess.{key}": value for key, value in estimated.items()}
    return found


def needed_columns(task: Task) -> list[str]:
    """Confounds that a new scan needs for the task's adjustment."""
    if task.confounds in ("none", "match"):
        return []
    return ["site"] if task.confounds == "combat" else list(task.confound_columns)


def read_contract(folder: Path) -> Contract:
    """Read the contract of a model folder.

    Raises
    ------
    ContractError
        If it is missing, damaged, or of another version of the format.
    """
    path = folder / FILE
    if not path.exists():
        raise ContractError(
            f"{path}: no such file, so {folder} is not a deployed model: found "
            f"{_found_instead(folder)}; expected a folder such as results/finetune/<task>/model"
        )
    raw = _read(path)
    if FIELD not in raw:
        raise ContractError(
            f"{path}: has no checksum, so damage could not be detected: it was made by an older "
            f"version; if you trust it, write its checksum once: brainmass checksum {folder}"
        )
    try:
        check_seal(raw, path)
        del raw[FIELD]
        return Contract.model_validate(raw, context={"check_paths": False})
    except ChecksumError as error:
        raise ContractError(f"{error}; {REMEDY}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        found = quoted(first["input"])
        raise ContractError(f"{path}: {where}: found {found}: {first['msg']}; {REMEDY}") from None


def _found_instead(folder: Path) -> str:
    """Describe a path without a contract, as part of a message."""
    if not folder.is_dir():
        return "a file" if folder.exists() else "no such folder"
    below = sorted(folder.glob(f"*/{FILE}")) + sorted(folder.glob(f"finetune/*/*/{FILE}"))
    if below:
        return f"a folder above {below[0].parent}, which is one"
    names = sorted(p.name for p in folder.iterdir())
    if "estimator.json" in names:
        return "its other files, so the copy is incomplete: copy the folder again"
    if "config.json" in names:  # as of `models.pretrained`, and of other programs
        return "a pre-trained model, which has no classifier (config.json)"
    return f"a folder with {', '.join(names[:3])}" if names else "an empty folder"


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = read_object(path)
    except FileError as error:
        raise ContractError(f"{error}: cannot be read as JSON; {REMEDY}") from None
    if raw.get("format") != FORMAT:
        raise ContractError(
            f"{path}: found format {quoted(raw.get('format'))}, expected {FORMAT}; use the version "
            "of brainmass that made it, or make it again"
        )
    return raw


def write_contract(folder: Path, contract: Contract) -> None:
    """Write the contract with its checksum, atomically."""
    _write(folder, json.loads(contract.model_dump_json()))


def seal_contract(folder: Path) -> None:
    """Write the checksum of a trusted contract.

    Raises
    ------
    ContractError
        If it cannot be read.
    """
    _write(folder, _read(folder / FILE))


def _write(folder: Path, content: dict[str, Any]) -> None:
    with atomic_path(folder / FILE) as path:
        path.write_text(json.dumps(sealed(content), indent=2) + "\n", encoding="utf-8")
