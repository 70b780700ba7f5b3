"""Check that an input is compatible with a model: file, found, expected, remedy."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.atlas import AtlasError, resolve_atlas
from brainmass_core.config import Config
from brainmass_core.finetune.cohort.dataset import UNKNOWN
from brainmass_core.predict.contract import Contract, Processing, processing_of
from brainmass_core.readers.groups import sex_of
from brainmass_core.readers.limits import quoted
from brainmass_core.timeseries.write_derivatives import label_of

log = logging.getLogger(__name__)
T_R_SHARE = 0.1  # fraction by which t_r may be outside the range of the training scans
SAME = "make the input again with the model's settings (contract.json), or train on such input"
UNLABELLED = (
    "nothing says which atlas, denoising and FC estimator it was made with; if they are those of "
    "the model, say so with --as-trained"
)


class PredictError(ValueError):
    """An input or a model cannot be used."""


@dataclass(frozen=True)
class Provenance:
    """Known provenance of one scan's FC or series; None: unknown.

    Attributes
    ----------
    where : str
        File, for messages.
    atlas : str
        Name or BIDS label of the atlas.
    parcels : list of str
    unit : str
        Unit of FC: ``run``, ``session``, ``participant``; ``joined``: one of the latter two.
    """

    where: str
    atlas: str | None = None
    parcels: list[str] | None = None
    n_edges: int | None = None
    estimator: str | None = None
    done: Processing | None = None
    t_r: float | None = None
    n_rois: int | None = None
    n_timepoints: int | None = None
    unit: str | None = None


def incompatibility(contract: Contract, provenance: Provenance, as_trained: bool) -> str | None:
    """Why a scan is not compatible; None if it is.

    Parameters
    ----------
    as_trained : bool
        Whether unknown properties are assumed to match the model.
    """
    unknown = None in (provenance.atlas, provenance.estimator, provenance.done)
    wrong = [
        *_atlas(contract, provenance),
        *_estimator(contract, provenance),
        *_done(contract, provenance),
    ]
    wrong += _unit(contract, provenance)
    if contract.series and provenance.t_r is None and (unknown or as_trained):
        provenance = replace(provenance, t_r=contract.series.t_r)
    wrong += _recording(contract, provenance) if contract.series else _t_r(contract, provenance)
    if wrong:
        return f"{provenance.where}: {'; '.join(wrong)}; {SAME}"
    return f"{provenance.where}: {UNLABELLED}" if unknown and not as_trained else None


def _atlas(contract: Contract, provenance: Provenance) -> list[str]:
    atlas = contract.atlas
    if provenance.atlas is not None and label_of(provenance.atlas) != label_of(atlas.name):
        return [f"found the atlas {provenance.atlas}, the model's is {atlas.name}"]
    if provenance.n_edges is not None and provenance.n_edges != contract.n_edges:
        return [
            f"found FC of {provenance.n_edges} edges, the model's atlas {atlas.name} has "
            f"{atlas.n_rois} parcels, {contract.n_edges} edges"
        ]
    if provenance.n_rois not in (None, atlas.n_rois):
        return [
            f"found series of {provenance.n_rois} parcels, the model's atlas {atlas.name} has "
            f"{atlas.n_rois}"
        ]
    if provenance.parcels is not None and provenance.parcels != atlas.names:
        pairs = zip(provenance.parcels, atlas.names, strict=False)
        first = next((i for i, (a, b) in enumerate(pairs) if a != b), 0)
        return [
            f"found parcel {first + 1} called {provenance.parcels[first]!r}, the model's is "
            f"{atlas.names[first]!r}: the order or the atlas differs"
        ]
    return []


def _estimator(contract: Contract, provenance: Provenance) -> list[str]:
    expected = contract.connectivity.estimator
    if provenance.estimator in (None, expected):
        return []
    return [f"found FC by the estimator {provenance.estimator}, the model's is {expected}"]


def _unit(contract: Contract, provenance: Provenance) -> list[str]:
    """Compare the unit of FC: joined runs have longer series than single runs."""
    expected, found = contract.connectivity.unit, provenance.unit
    if contract.series or found in (None, expected) or (found == "joined" and expected != "run"):
        return []
    words = {"run": "single runs", "joined": "joined runs"}
    named = [words.get(u, f"joined runs of a {u}") for u in (str(found), expected)]
    return [f"found FC of {named[0]}, the model's is of {named[1]}"]


def _done(contract: Contract, provenance: Provenance) -> list[str]:
    if provenance.done is None or provenance.done in contract.done:
        return []
    expected = " or ".join(_text(d) for d in contract.done)
    return [f"found series with {_text(provenance.done)}, the model's have {expected}"]


def _text(done: Processing) -> str:
    return ", ".join(f"{key}: {value}" for key, value in done.model_dump().items())


def _recording(contract: Contract, provenance: Provenance) -> list[str]:
    """Check that a model on series can make a window from the recording."""
    assert contract.series is not None
    wrong = contract.series.incompatibility(provenance.n_timepoints or 0, provenance.t_r)
    if wrong is None and contract.series.t_r is None:
        return _t_r(contract, provenance)
    return [] if wrong is None else [wrong]


def _t_r(contract: Contract, provenance: Provenance) -> list[str]:
    """Compare t_r, which determines the frequencies of FC unless there is a low-pass filter."""
    if provenance.t_r is None or contract.t_r is None or contract.low_passed:
        return []
    low, high = contract.t_r[0] * (1 - T_R_SHARE), contract.t_r[1] * (1 + T_R_SHARE)
    if low <= provenance.t_r <= high:
        return []
    return [
        f"found t_r {provenance.t_r:g} s, the model's training scans have {contract.t_r[0]:g} to "
        f"{contract.t_r[1]:g} s and no low-pass filter that would make others comparable"
    ]


def refuse_settings(contract: Contract, where: str, config: Config, datasets: list[str]) -> None:
    """Refuse results that were made with other settings.

    Raises
    ------
    PredictError
        Listing every setting that differs.
    """
    wrong = []
    if config.atlas.name != contract.atlas.configured:
        wrong.append(_knob("atlas.name", config.atlas.name, contract.atlas.configured))
    estimator = config.connectivity.estimator
    if not contract.series and estimator != contract.connectivity.estimator:
        expected = contract.connectivity.estimator
        wrong.append(_knob("connectivity.estimator", estimator, expected))
    for dataset in datasets:
        wrong += _processing(contract, config, dataset)
    wrong += _image(contract, config)
    if wrong:
        lines = "\n".join(f"  {line}" for line in dict.fromkeys(wrong))
        raise PredictError(f"{where}: the input is not compatible with the model\n{lines}\n{SAME}")


def _image(contract: Contract, config: Config) -> list[str]:
    """Compare two atlases with the same name by label image or table."""
    if config.atlas.path is None and config.atlas.labels is None:
        return []  # an atlas that is looked up by name, with a known checksum
    try:
        found = resolve_atlas(config)
    except (AtlasError, OSError) as error:
        log.warning("the atlas of the input is only compared by its name: %s", error)
        return []
    if found.sha256 == contract.atlas.sha256:
        return []
    return [_knob(f"atlas {found.name}: sha256", found.sha256, contract.atlas.sha256)]


def _processing(contract: Contract, config: Config, dataset: str) -> list[str]:
    kind, found = config.datasets[dataset].kind, processing_of(config, dataset)
    variants = contract.processing.get(kind)
    if variants is None:
        return [_knob(f"datasets.{dataset}.kind", kind, " or ".join(contract.processing))]
    differences = [
        [_knob(k, found.get(k), v.get(k)) for k in sorted({*found, *v}) if found.get(k) != v.get(k)]
        for v in variants
    ]
    return min(differences, key=len)


def _knob(name: str, found: Any, expected: Any) -> str:
    return f"{name}: found {found}, the model's is {expected}"


def refuse_unknown_confounds(contract: Contract, where: str, confounds: pd.DataFrame) -> None:
    """Refuse scans if a confound that the model needs is unknown for all of them.

    Parameters
    ----------
    confounds : DataFrame
        site, sex, age, mean_fd of the scans to be scored.

    Raises
    ------
    PredictError
        Naming the columns.
    """
    known = {
        c: bool(np.any(confounds[c].notna() & (confounds[c].astype(object) != UNKNOWN)))
        for c in contract.confound_columns
    }
    missing = [c for c, is_known in known.items() if not is_known]
    if missing and len(confounds):
        raise PredictError(
            f"{where}: the model adjusts features for {', '.join(contract.confound_columns)} "
            f"({contract.confounds}), but {', '.join(missing)} is not known for any scan; give a "
            "table with participant_id and these columns: --phenotype TABLE"
        )


def sexes_as_trained(contract: Contract, where: str, sexes: pd.Series) -> pd.Series:
    """Sexes spelled as in the training data.

    Parameters
    ----------
    sexes : Series of str
        `UNKNOWN` where missing.

    Raises
    ------
    PredictError
        If the model was not fitted with one of them, so that it could not be regressed out.
    """
    if not contract.sexes:  # the model does not use sex, or is older than this record
        return sexes
    found = sexes.map(lambda sex: sex if sex == UNKNOWN else sex_of(sex))
    others = sorted(set(found) - {UNKNOWN, *contract.sexes})
    if others:
        raise PredictError(
            f"{where}: found the sex {', '.join(map(quoted, others))}, but the model was fitted "
            f"with {', '.join(contract.sexes)}; write these, or n/a where it is neither"
        )
    return found
