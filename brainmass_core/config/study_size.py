"""Settings whose default depends on the number of scans: null or, `batches`, not given.

`settle` gives them a value. A run does this once, when the jobs are planned, from the files
of the data sets, so that the values depend neither on earlier results nor on the order of jobs;
they are written to the ``config.yaml`` of the results folder, which all jobs read. A hash contains
the value, see `pipeline.hashing`, and so equals that of a configuration that gives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainmass_core.config.costs import default_batches
from brainmass_core.config.model import Config

# At this number derivatives of series and FC are 18,000 files of 0.8 GB, and pages of all scans
# 1 GB; at 70,000 scans 600,000 files, 25 GB and 35 GB, which exceeds common quotas. Nobody reviews
# a larger cohort page by page.
LARGE_STUDY = 2000  # scans

# section and setting to the values for a small study and for a large one
AUTOMATIC: dict[tuple[str, str], tuple[Any, Any]] = {
    ("timeseries", "derivatives"): (True, False),
    ("quality", "pages"): ("all", "flagged"),
}


def is_settled(config: Config) -> bool:
    """Whether each setting has a value whose default depends on the number of scans."""
    given = all(getattr(getattr(config, s), name) is not None for s, name in AUTOMATIC)
    return given and all("batches" in d.model_fields_set for d in config.datasets.values())


def settle(config: Config, n_scans: Mapping[str, int]) -> Config:
    """Give these settings their defaults for data sets of these numbers of scans."""
    large = sum(n_scans.values()) > LARGE_STUDY
    config = _filled(config, {key: values[large] for key, values in AUTOMATIC.items()})
    kinds = {name: d.kind for name, d in config.datasets.items()}
    return _dealt(config, {n: default_batches(kinds[n], k) for n, k in n_scans.items()})


def settle_as(config: Config, other: dict[str, Any]) -> Config:
    """Give these settings the values of another configuration, as read from YAML."""
    given = {(s, name): (other.get(s) or {}).get(name) for s, name in AUTOMATIC}
    config = _filled(config, {key: value for key, value in given.items() if value is not None})
    datasets = {n: d.get("batches") for n, d in (other.get("datasets") or {}).items()}
    return _dealt(config, {n: k for n, k in datasets.items() if isinstance(k, int) and k >= 1})


def with_small_defaults(section: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A section as plain values, with the defaults of a small study instead of null."""
    small = {n: v[0] for (s, n), v in AUTOMATIC.items() if s == section and n in settings}
    return settings | {name: v for name, v in small.items() if settings[name] is None}


def choices(config: Config, n_scans: int) -> list[str]:
    """What `settle` chooses for a large study, one line for each null setting.

    Parameters
    ----------
    n_scans : int
        In all data sets.
    """
    if n_scans <= LARGE_STUDY:
        return []
    return [
        f"{section}.{name}: {str(large).lower()}, because the study has {n_scans:,} scans, more "
        f"than {LARGE_STUDY:,}; set it to {str(small).lower()} to choose otherwise"
        for (section, name), (small, large) in AUTOMATIC.items()
        if getattr(getattr(config, section), name) is None
    ]


def _filled(config: Config, values: dict[tuple[str, str], Any]) -> Config:
    for (section, name), value in values.items():
        settings = getattr(config, section)
        if getattr(settings, name) is None:
            changed = type(settings).model_validate(settings.model_dump() | {name: value})
            config = config.model_copy(update={section: changed})
    return config


def _dealt(config: Config, batches: Mapping[str, int]) -> Config:
    """The configuration with numbers of batches where it gives none."""
    datasets = {
        name: d.model_copy(update={"batches": batches[name]})
        if name in batches and "batches" not in d.model_fields_set
        else d
        for name, d in config.datasets.items()
    }
    return config.model_copy(update={"datasets": datasets})
