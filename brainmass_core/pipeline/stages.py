"""The table of stages: what each stage reads, writes and depends on.

The configuration's hashes, the DAG, `brainmass status`, the flow of scans on the pages and the
commands use it; no other module lists stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from brainmass_core.pipeline.eligibility import dataset_may_be_pretrained_on

Unit = Literal["dataset", "batch", "model", "task", "analysis", "page"]


def _every(dataset: Any) -> bool:
    return True


def _raw(dataset: Any) -> bool:
    return dataset.kind == "bids"


@dataclass(frozen=True)
class Stage:
    """One stage of the workflow.

    A stage is a rule file, a module, a subcommand, a folder below the results and a folder of
    tests, all with this name.

    Attributes
    ----------
    name : str
    unit : str
        Unit of work of one job.
    summary : str
        Help of its command.
    reads : tuple of str
        Stages whose results it reads.
    sections : tuple of str
        Sections of the configuration on which it depends, in addition to those of earlier stages.
    after : str
        The stage whose hash is part of its own; empty if there are several, see `pipeline.hashing`.
    seeded : bool
        Whether it depends on the seed.
    outputs : tuple of str
        Files of a task or an analysis, without their ending.
    takes : callable
        Whether a data set passes through it, from its section of the configuration.
    selects : bool
        Whether a scan that it excludes is also excluded from later stages.
    keeps_work : bool
        Whether finished scans are kept after the table of their batch is written, because they are
        expensive.
    of_scan : str
        Name of the hash (`pipeline.hashing`) of all settings that the result of one scan depends
        on, whatever its batch; then scans are taken over from published tables. Empty if the result
        depends on the other scans of the batch.
    cpus_per_task, mem_mb, runtime : int
        Default resources of a job: cores, MB and minutes.
    """

    name: str
    unit: Unit
    summary: str
    reads: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    after: str = ""
    seeded: bool = False
    outputs: tuple[str, ...] = ()
    takes: Callable[[Any], bool] = _every
    selects: bool = False
    keeps_work: bool = False
    of_scan: str = ""
    cpus_per_task: int = 1
    mem_mb: int = 2000
    runtime: int = 60


_TABLE = (
    Stage(
        "scans",
        "dataset",
        "List the scans of a data set, join the phenotypes, split the participants.",
        sections=("datasets",),
        seeded=True,
        selects=True,
    ),
    Stage(
        "preprocess",
        "batch",
        "Estimate masks, transforms, motion, confounds and quality of a batch of scans.",
        reads=("scans",),
        sections=("preprocess",),
        takes=_raw,
        selects=True,
        keeps_work=True,
        of_scan="estimates",
        cpus_per_task=2,
        mem_mb=6000,
        runtime=720,
    ),
    Stage(
        "timeseries",
        "batch",
        "Make the clean parcel time series of a batch of scans.",
        reads=("scans", "preprocess"),
        sections=("atlas", "timeseries"),
        selects=True,
        of_scan="series",
        cpus_per_task=2,
        mem_mb=4000,
        runtime=240,
    ),
    Stage(
        "connectivity",
        "batch",
        "Compute the functional connectivity of a batch of scans.",
        reads=("scans", "timeseries"),  # the scans table is needed if runs are joined
        sections=("connectivity",),
        after="timeseries",
        selects=True,
        of_scan="fc",
    ),
    Stage(
        "quality",
        "batch",
        "Write the quality pages of a batch of scans, and their numbers.",
        reads=("scans", "preprocess", "timeseries", "connectivity"),
        sections=("quality",),
        mem_mb=4000,
    ),
    Stage(
        "pfc",
        "batch",
        "Compute the pseudo-FC of a batch of scans.",
        reads=("scans", "timeseries"),
        sections=("pfc",),
        after="timeseries",
        seeded=True,
        takes=dataset_may_be_pretrained_on,
        of_scan="views",
    ),
    Stage(
        "pretrain",
        "model",
        "Pre-train the foundation model on pseudo-FC or time series.",
        reads=("scans", "timeseries", "pfc"),
        sections=("pretrain", "pfc"),
        seeded=True,
        takes=dataset_may_be_pretrained_on,
        cpus_per_task=2,
        mem_mb=8000,
        runtime=2880,
    ),
    Stage(
        "finetune",
        "task",
        "Adapt and evaluate the model on one task, with the baselines on the same folds.",
        reads=("scans", "timeseries", "connectivity", "pretrain"),
        sections=("tasks", "finetune", "neural", "few_shot", "zero_shot"),
        seeded=True,
        outputs=("cohort", "codings", "roc", "predictions", "metrics", "calibration"),
        cpus_per_task=2,
        mem_mb=8000,
        runtime=720,
    ),
    Stage(
        "interpret",
        "task",
        "Find the regions that carry a task's decision, and how stable they are.",
        reads=("scans", "timeseries", "connectivity", "pretrain", "finetune"),
        sections=("interpret",),
        after="finetune",
        outputs=("attention", "networks", "stability", "maps", "regions"),
        cpus_per_task=2,
        mem_mb=8000,
        runtime=720,
    ),
    Stage(
        "series_model",
        "analysis",
        "Analyse a BrainLM on the series of participants that it has not seen.",
        reads=("scans", "timeseries", "pretrain"),
        sections=("series_model",),
        seeded=True,
        cpus_per_task=2,
        mem_mb=8000,
        runtime=1440,
    ),
    Stage(
        "report",
        "page",
        "Write one page of the report from the results.",
        reads=(
            *("scans", "preprocess", "timeseries", "connectivity", "quality", "pretrain"),
            *("finetune", "interpret", "series_model"),
        ),
        sections=("report",),
        mem_mb=4000,
    ),
)
STAGES = {stage.name: stage for stage in _TABLE}
NAMES = tuple(STAGES)
if TYPE_CHECKING:
    StageName = str
else:
    StageName = Literal[NAMES]


def stages_of(unit: Unit | None = None, selecting: bool = False) -> tuple[str, ...]:
    """Names of stages in their order.

    Parameters
    ----------
    unit : str, optional
        Only those with this unit of work.
    selecting : bool
        Only those whose exclusions apply to later stages.
    """
    return tuple(
        name
        for name, stage in STAGES.items()
        if (unit is None or stage.unit == unit) and (stage.selects or not selecting)
    )


def batch_stages(config: Any, dataset: str) -> Iterator[Stage]:
    """Stages that process the scans of a data set; `pfc` only if the model is trained on it.

    Parameters
    ----------
    config : Config
    dataset : str
        Name of a data set.
    """
    for stage in STAGES.values():
        read = stage.name != "pfc" or config.pretrain.source == "pfc"
        if stage.unit == "batch" and read and stage.takes(config.datasets[dataset]):
            yield stage
