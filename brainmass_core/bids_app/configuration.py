"""From the command line of a BIDS App to a configuration of the workflow."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brainmass_core.config import Config, ConfigError, list_presets, parse_config
from brainmass_core.config.base import near_miss
from brainmass_core.config.load import deep_merge
from brainmass_core.config.yaml_file import read_yaml
from brainmass_core.scans.folder_kind import kind_of
from brainmass_core.scans.selection import participants_of, refuse_unknown, sessions_of

FILE = "brainmass.yaml"  # in the output folder
DATASET = "bids"  # name of the data set, unless `--config` has one without a path
PER_CORE = {"preprocess": 3000, "timeseries": 2000, "quality": 4000}  # MB, of the defaults
SCHAEFER = re.compile(r"Schaefer2018_(\d+)Parcels_(\d+)Networks")


@dataclass(frozen=True)
class Request:
    """What the user has written.

    Attributes
    ----------
    n_procs, mem_mb : int, optional
        Cores and memory (MB) of this machine, or of one job if a profile submits jobs.
    extra : Path, optional
        Configuration with further settings.
    """

    bids_dir: Path
    output_dir: Path
    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    task: str | None = None
    atlas: str | None = None
    denoise: str | None = None
    n_procs: int | None = None
    mem_mb: int | None = None
    extra: Path | None = None


def configuration(request: Request) -> dict[str, Any]:
    """The configuration of a request, as it is written to the output folder.

    Options of the command line override settings of `extra`, which override the defaults: one
    data set of role `external`, so that nothing is pre-trained unless `extra` asks for it.

    Returns
    -------
    dict
        Valid; all paths are absolute, because the workflow runs in another folder.

    Raises
    ------
    ConfigError, ScansError
        If a setting, a label or a file is not what it has to be.
    """
    extra = read_yaml(request.extra) if request.extra else {}
    if not isinstance(extra, dict | None):
        raise ConfigError(f"{request.extra}: expected a mapping of settings")
    extra = extra or {}
    name = _name_of_dataset(extra, request.extra)
    given = {"results": absolute(request.output_dir), "datasets": {name: _dataset(request)}}
    raw = deep_merge({"datasets": {name: {"role": "external"}}}, deep_merge(extra, given))
    if request.denoise:
        raw["presets"] = [*(raw.get("presets") or []), _preset(request.denoise)]
    if request.atlas:
        raw["atlas"] = deep_merge(raw.get("atlas") or {}, _atlas(request.atlas))
    raw = deep_merge({"resources": _resources(request)}, raw)
    source = str(request.extra) if request.extra else "brainmass run"
    return _absolute(raw, parse_config(raw, source))


def with_earlier(request: Request, raw: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the participants of earlier runs in the output folder.

    A BIDS App is often called once per participant, with one output folder.
    """
    file = request.output_dir / FILE
    if not request.participants or not file.exists():
        return raw
    before = read_yaml(file)
    datasets = dict(raw["datasets"])
    for name, section in datasets.items():
        earlier = ((before or {}).get("datasets") or {}).get(name) or {}
        if section.get("participants") and earlier.get("path") == section["path"]:
            old = earlier.get("participants")  # none: all of them
            people = sorted({*old, *section["participants"]}) if old else []
            datasets[name] = section | {"participants": people}
    return raw | {"datasets": datasets}


def write(folder: Path, raw: dict[str, Any], command: str) -> Path:
    """Write the configuration to the output folder, unless it is there already."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    text = f"# written by: {command}\n" + yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
    return file


def _name_of_dataset(extra: dict[str, Any], source: Path | None) -> str:
    """Name of the data set: that of `extra` whose path is left to the command line."""
    datasets = extra.get("datasets") or {}
    if not isinstance(datasets, dict):
        return DATASET  # its error is reported with all others
    open_ = [
        n for n, d in datasets.items() if isinstance(d, dict | None) and "path" not in (d or {})
    ]
    if len(open_) > 1:
        raise ConfigError(
            f"{source}: the data sets {', '.join(map(str, open_))} have no path, and BIDS_DIR is "
            "one of them; give all others a path"
        )
    return str(open_[0]) if open_ else DATASET


def _dataset(request: Request) -> dict[str, Any]:
    root = Path(absolute(request.bids_dir))
    if not root.is_dir():
        raise ConfigError(f"{request.bids_dir}: expected the folder of a BIDS data set; correct it")
    kind = kind_of(root)
    if kind in (None, "timeseries"):
        series = " It has parcel series: `brainmass init` writes a configuration for them."
        raise ConfigError(
            f"{request.bids_dir}: found no BOLD run in sub-*/[ses-*/]func, expected a BIDS data "
            f"set or derivatives.{series if kind else ''}"
        )
    found: dict[str, Any] = {"kind": kind, "path": str(root)}
    for option, prefix, wanted, there in (
        ("participants", "sub-", request.participants, participants_of),
        ("sessions", "ses-", request.sessions, sessions_of),
    ):
        labels = sorted({label.removeprefix(prefix) for label in wanted})
        if labels:
            said = f"--{option.removesuffix('s')}-label"
            refuse_unknown(said, labels, there(root), request.bids_dir)
            found[option] = labels
    return found | ({"task": request.task.removeprefix("task-")} if request.task else {})


def _preset(name: str) -> str:
    known = [p.removeprefix("timeseries/") for p in list_presets() if p.startswith("timeseries/")]
    if name not in known:
        there = ", ".join(known)
        close = near_miss(name, known)
        hint = close if close.startswith("; did") else ""
        raise ConfigError(f"--denoise: found {name}, expected one of {there}{hint}")
    return f"timeseries/{name}"


def _atlas(given: str) -> dict[str, Any]:
    path = Path(given)
    if not path.is_file():
        if path.suffix in (".nii", ".gz") or len(path.parts) > 1:
            raise ConfigError(f"--atlas: {given} does not exist; correct the path")
        return {"name": given}
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    known = SCHAEFER.match(stem)
    name = f"Schaefer2018-{known[1]}-{known[2]}networks" if known else stem
    return {"name": name, "path": absolute(path)}


def _resources(request: Request) -> dict[str, Any]:
    """Cores and memory of the jobs, so that one batch of scans uses all that is given."""
    if request.n_procs is None and request.mem_mb is None:
        return {}
    n_procs = request.n_procs or 2
    found = {}
    for stage, per_core in PER_CORE.items():
        most = n_procs if request.mem_mb is None else request.mem_mb // per_core
        cores = max(1, min(n_procs, most))
        found[stage] = {"cpus_per_task": cores, "mem_mb": max(per_core * cores, 4000)}
    for stage in ("pretrain", "finetune", "interpret", "series_model"):
        found[stage] = {"cpus_per_task": min(n_procs, 2)}
    return found


def _absolute(raw: Any, settings: Any) -> Any:
    """Values as read, with the paths among them absolute."""
    if isinstance(settings, Path):
        return absolute(settings)
    if isinstance(raw, dict):
        return {key: _absolute(value, _part(settings, key)) for key, value in raw.items()}
    if isinstance(raw, list) and isinstance(settings, list) and len(raw) == len(settings):
        return [_absolute(*pair) for pair in zip(raw, settings, strict=True)]
    return raw


def absolute(path: Path) -> str:
    """An absolute path without ``..``; links stay as they are."""
    return os.path.abspath(path)


def _part(settings: Any, key: Any) -> Any:
    return settings.get(key) if isinstance(settings, dict) else getattr(settings, str(key), None)


def checked(raw: dict[str, Any]) -> Config:
    """The validated configuration."""
    return parse_config(raw, FILE)
