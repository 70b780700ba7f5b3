import re

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from brainmass_core.config import ConfigError
from brainmass_core.pipeline.dag import Study
from brainmass_core.pipeline.paths import FIGURES, MAPS

try:
    study = Study.load(config, workflow.overwrite_configfiles, workflow.is_main_process)
except ConfigError as error:
    raise WorkflowError(str(error)) from None


def scans_table(stage, dataset, batch=0):
    """The scans table for a job; not an updated one if the update does not concern the job."""
    table = str(study.paths.scans(dataset))
    return before_update(ancient(table)) if study.settled(stage, dataset, batch) else table


def retried(stage):
    """Input of a batch after `brainmass retry`."""
    return lambda wildcards: study.retried(stage, wildcards.dataset, wildcards.batch)


wildcard_constraints:
    dataset="|".join(study.config.datasets),
    batch=r"\d+",
    analysis="|".join(study.config.series_model.analyses) or "no-analysis",
    task="|".join(study.config.tasks) or "no-task",
