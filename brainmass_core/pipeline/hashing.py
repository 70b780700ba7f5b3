"""Stable hashes: what runs again after a changed setting, and the batch of a participant.

A changed setting changes `stage_hash` of the stages that depend on it and of all stages after them.
The rule of each stage carries it as ``params.config_hash``. Snakemake repeats the jobs whose hash
differs (``rerun-triggers: params`` in `workflow/profiles/default`). For changed data see
`pipeline.data_changes`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from math import gcd
from typing import Any

from pydantic import BaseModel

from brainmass_core.config.bridged import data_bridges, drawn_bridges, prior_bridges
from brainmass_core.config.model import Config
from brainmass_core.config.phenotypes import named_phenotypes, targets_of
from brainmass_core.config.study_size import with_small_defaults
from brainmass_core.pipeline.stages import STAGES

# settings of a data set which decide who is in which batch, or on which side of a split
OF_SPLIT = {"role", "batches", "evaluation_fraction", "stratify_by"}
# columns of the phenotype table that say whose a series is, or how it was acquired
IDENTIFYING = {"path", "id_column", "scan_column", "t_r_column", "mean_fd_column"}
CODES = {"missing_values", "valid_values"}
OF_TASKS = ("age_column", "sex_column")  # columns that only tasks and pages read


def stable_hash(*parts: str) -> int:
    """A 63-bit hash that is the same on every machine and in every process."""
    digest = hashlib.sha256("\x1f".join(parts).encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def batch_of(dataset: str, participant: str, batches: int) -> int:
    """The batch to which all runs of a participant belong."""
    return stable_hash(dataset, participant) % batches


def may_share(batch: int, batches: int, other: int, others: int) -> bool:
    """Whether a batch of `batches` and one of `others` can have a participant in common."""
    common = gcd(batches, others)
    return batch % common == other % common


def stage_hash(config: Config, stage: str, name: str | None = None) -> str:
    """Hash of the part of the configuration that a result depends on.

    Parameters
    ----------
    stage : str
        A name in `STAGES`; ``few_shot``, ``zero_shot`` and ``model``, the parts of `finetune` that
        are asked for apart; or a part that several stages share: ``listing``, all settings of a
        data set, ``split``, those that decide which scans there are and who is tested, ``images``,
        those that decide what is read of a scan, and ``estimates``,
        ``series``, ``fc`` and ``views``, on which a finished scan of `preprocess`, `timeseries`,
        `connectivity` and `pfc` depends, whatever its batch.
    name : str, optional
        The data set (up to `pfc`), the task (`finetune`, `interpret`, `report`) or the analysis
        (`series_model`).

    Returns
    -------
    str
        12 hexadecimal digits. A stage's hash contains those of the stages before it, so a knob
        changes what depends on it and nothing else.
    """
    text = json.dumps(_stage_part(config, stage, name), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _stage_part(config: Config, stage: str, name: str | None) -> dict:
    if stage in PARTS:
        return PARTS[stage](config, name)
    known = STAGES[stage]
    found: dict[str, Any] = {"before": stage_hash(config, known.after, name)}
    found |= {section: _section(config, section) for section in known.sections}
    return found | {"seed": config.seed} if known.seeded else found


def _over(bridges: str) -> dict:
    """What is read of the package's own bridges; where none is crossed, no hash changes."""
    return {"bridges": bridges} if bridges else {}


def _limit(config: Config) -> dict:
    """What decides which data sets are used, by tasks and `series_model` as well.

    The default adds nothing, and their hashes contain that of `pretrain`.
    """
    default = Config.model_fields["max_failed_fraction"].default
    limit = config.max_failed_fraction
    return {} if limit == default else {"max_failed_fraction": limit}


def _section(config: Config, section: str, **chosen: Any) -> Any:
    settings = getattr(config, section).model_dump(mode="json", **chosen)
    return with_small_defaults(section, settings) if isinstance(settings, dict) else settings


def _scans_part(config: Config, dataset: str) -> dict:
    # columns that only tasks name are carried along; no later stage but theirs reads them
    named = [named_phenotypes(config, dataset), targets_of(config, dataset)]
    return {"before": stage_hash(config, "listing", dataset), "phenotypes": named}


def _listing_part(config: Config, dataset: str) -> dict:
    settings = config.datasets[dataset].model_dump(mode="json", exclude={"band_pass"})
    return {"name": dataset, "dataset": settings, "seed": config.seed} | _of_kind(config, dataset)


def _split_part(config: Config, dataset: str) -> dict:
    found = _listing_part(config, dataset)
    found["dataset"]["phenotype"] |= dict.fromkeys(OF_TASKS)
    return found


def _images_part(config: Config, dataset: str) -> dict:
    # people, their roles and the split are no matter of images; whom a series belongs to may be
    # known from the phenotype table alone, and a table has repetition times of series
    settings = config.datasets[dataset].model_dump(mode="json", exclude=OF_SPLIT | {"band_pass"})
    phenotype, kind = settings.pop("phenotype"), settings["kind"]
    if kind == "timeseries":
        settings |= {k: v for k, v in phenotype.items() if k in IDENTIFYING}
    if kind == "bids":
        settings = {k: v for k, v in settings.items() if k not in CODES}
    return {"name": dataset, "dataset": settings} | _of_kind(config, dataset)


def _of_kind(config: Config, dataset: str) -> dict:
    """What the list of the scans depends on beside the section of its data set."""
    kind, found = config.datasets[dataset].kind, {}
    if kind == "bids" and not config.preprocess.slice_timing:
        found["slice_timing"] = False  # then slice times that do not fit exclude nobody
    if kind == "derivatives":  # of several spaces the atlas's own is taken
        found["atlas"] = _section(config, "atlas", include={"path", "space"})
    return found


def _estimates_part(config: Config, dataset: str) -> dict:
    before = stage_hash(config, "images", dataset)
    own = {"before": before, "preprocess": _section(config, "preprocess")}
    return own | _over(prior_bridges(config.preprocess))


def _preprocess_part(config: Config, dataset: str) -> dict:
    return {"before": stage_hash(config, "estimates", dataset)} | _dealt(config, dataset)


def _dealt(config: Config, dataset: str) -> dict:
    """Which scans a table holds follows from the number of batches."""
    return {"batches": config.datasets[dataset].batches}


def _timeseries_part(config: Config, dataset: str) -> dict:
    judged = config.datasets[dataset].kind == "bids"
    before = stage_hash(config, "preprocess" if judged else "images", dataset)
    return _series_part(config, dataset) | _dealt(config, dataset) | {"before": before}


def _series_part(config: Config, dataset: str) -> dict:
    # what `preprocess` has not judged is judged here, by the same criteria
    criteria = {"min_volumes", "max_mean_fd", "fd_threshold"}
    if config.datasets[dataset].kind == "derivatives":
        criteria |= {"max_censored_fraction", "max_std_dvars"}
    judged = config.datasets[dataset].kind == "bids"
    return {
        "before": stage_hash(config, "estimates" if judged else "images", dataset),
        "criteria": None if judged else _section(config, "preprocess", include=criteria),
        "atlas": _section(config, "atlas"),
        "timeseries": _section(config, "timeseries"),
        "band_pass": config.datasets[dataset].band_pass,
    } | _over(data_bridges(config, dataset))


def _connectivity_part(config: Config, dataset: str) -> dict:
    before = stage_hash(config, "timeseries", dataset)
    return _fc_part(config, dataset) | {"before": before}


def _fc_part(config: Config, dataset: str) -> dict:
    # a unit of one run changes nothing, and no hash
    default = {"unit"} if config.connectivity.unit == "run" else None
    own = _section(config, "connectivity", exclude=default)
    return {"before": stage_hash(config, "series", dataset), "connectivity": own}


def _quality_part(config: Config, dataset: str) -> dict:
    # what a page shows of the phenotype table
    section, columns = config.datasets[dataset], {"site_column", "mean_fd_column"}
    shown = section.phenotype.model_dump(mode="json", include={*columns, "path"})
    shown |= section.model_dump(mode="json", include=CODES)
    before = stage_hash(config, "connectivity", dataset)
    return {"before": before, "shown": shown, "quality": _section(config, "quality")}


def _pfc_part(config: Config, dataset: str) -> dict:
    before = stage_hash(config, "timeseries", dataset)
    split = stage_hash(config, "split", dataset)  # those who are tested have no pFC
    return _views_part(config, dataset) | {"before": before, "split": split}


def _views_part(config: Config, dataset: str) -> dict:
    unit = config.connectivity.unit
    before = stage_hash(config, "series", dataset)
    own = {"before": before, "pfc": _section(config, "pfc"), "seed": config.seed}
    return own if unit == "run" else own | {"unit": unit}


def _pretrain_part(config: Config, _: str | None) -> dict:
    s = config.pretrain
    sources = sorted(config.pretrain_datasets())  # their order changes no model
    how = {"checkpoint_steps", "nodes", "processes_per_node", "compile"}
    # as before there were these settings
    how |= {n for n, old in (("fisher_z", False), ("passes", "separate")) if getattr(s, n) == old}
    others = {n for n in s.of_others if isinstance(getattr(s, n), BaseModel)}
    own = {"pretrain": s.model_dump(mode="json", exclude=how | others)} | _limit(config)
    stage = s.source  # of an encoder of series always `timeseries`
    found = own | {"before": [stage_hash(config, stage, n) for n in sources]}
    if s.encoder.sees_series:  # it sees no pFC, and windows and masks follow from the seed
        return found | {"seed": config.seed} | _over(drawn_bridges(config))
    if s.source == "timeseries":
        pfc = config.pfc.model_dump(mode="json", exclude={"n_views"})
        return found | {"views": {"pfc": pfc, "seed": config.seed}}
    return found


def _finetune_part(config: Config, task: str) -> dict:
    own = {"finetune": _section(config, "finetune", exclude={"deploy"})}
    return _task_part(config, task) | own | {"neural": _section(config, "neural")}


def _model_part(config: Config, task: str) -> dict:
    deployed = config.finetune.deployed(config.tasks[task].kind)
    return {"before": stage_hash(config, "finetune", task), "deployed": deployed}


def _few_shot_part(config: Config, task: str) -> dict:
    return _task_part(config, task) | {"few_shot": _section(config, "few_shot")}


def _zero_shot_part(config: Config, task: str) -> dict:
    source = config.tasks[task].zero_shot_from
    if isinstance(source, str):
        trained_on: Any = _task_part(config, source)
    else:
        trained_on = [stage_hash(config, "connectivity", n) for n in source or []]
    own = {"trained_on": trained_on, "zero_shot": _section(config, "zero_shot")}
    return _task_part(config, task) | own


def _interpret_part(config: Config, task: str) -> dict:
    own = {"before": stage_hash(config, "finetune", task)}
    return own | {"interpret": _section(config, "interpret")} | _over(drawn_bridges(config))


def _series_model_part(config: Config, analysis: str) -> dict:
    return {
        "before": [stage_hash(config, "timeseries", n) for n in config.datasets],
        "pretrain": stage_hash(config, "pretrain"),
        "series_model": _section(config, "series_model", exclude={"analyses"}),
        "allow_same_ids": config.allow_same_ids,
        "analysis": analysis,
        "seed": config.seed,
        "task": _classes(config, config.series_model.task),
    } | _over(drawn_bridges(config))


def _report_part(config: Config, name: str | None) -> dict:
    """Of the page of a task, or of the index."""
    tasks = [name] if name else list(config.tasks)
    curves = [t for t in tasks if config.few_shot.shots and config.tasks[t].classes]
    transfer = [t for t in tasks if config.tasks[t].zero_shot_from]
    analyses = [] if name else config.series_model.analyses
    return {
        "before": [stage_hash(config, "interpret", t) for t in tasks],
        "few_shot": [stage_hash(config, "few_shot", t) for t in curves],
        "zero_shot": [stage_hash(config, "zero_shot", t) for t in transfer],
        "pretrain": stage_hash(config, "pretrain"),
        "series_model": [stage_hash(config, "series_model", a) for a in analyses],
        "report": config.report.model_dump(mode="json"),
    } | _over(drawn_bridges(config))


def _task_part(config: Config, name: str) -> dict:
    """What everything that is made of a task depends on."""
    task = config.tasks[name]
    return {
        "before": [stage_hash(config, "connectivity", n) for n in task.datasets],
        "pretrain": stage_hash(config, "pretrain"),
        "task": task.model_dump(mode="json", exclude={"zero_shot_from"}),
        "class_order": list(task.classes),  # the last one is the positive class
        "permuted": config.finetune.permute_labels,
        "allow_same_ids": config.allow_same_ids,
        "seed": config.seed,
    }


def _classes(config: Config, name: str | None) -> dict | None:
    """What says who is in which class of a task."""
    task = config.tasks.get(name or "")
    kept = {"datasets", "label", "classes", "exclude"}
    if task is None:
        return None
    return task.model_dump(mode="json", include=kept) | {"order": list(task.classes)}


# stages that depend on more, or on less, than the stage before them and whole sections
PARTS: dict[str, Callable[[Config, Any], dict]] = {
    "listing": _listing_part,
    "split": _split_part,
    "images": _images_part,
    "estimates": _estimates_part,
    "series": _series_part,
    "fc": _fc_part,
    "views": _views_part,
    "preprocess": _preprocess_part,
    "scans": _scans_part,
    "timeseries": _timeseries_part,
    "connectivity": _connectivity_part,
    "quality": _quality_part,
    "pfc": _pfc_part,
    "pretrain": _pretrain_part,
    "finetune": _finetune_part,
    "model": _model_part,
    "few_shot": _few_shot_part,
    "zero_shot": _zero_shot_part,
    "interpret": _interpret_part,
    "series_model": _series_model_part,
    "report": _report_part,
}
