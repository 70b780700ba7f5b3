"""Estimate masks, transforms, motion, confounds and quality of each run, without applying them."""

from __future__ import annotations

import os

from brainmass_core.config import Config, ConfigError
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.preprocess.engines import missing

__all__ = ["run"]


def run(config: Config, dataset: str, batch: int, threads: int) -> None:
    """Preprocess the scans of one batch of a raw BIDS data set.

    Parameters
    ----------
    config : Config
    dataset : str
        Name of a data set of kind `bids`.
    batch : int
    threads : int
        Number of scans processed in parallel; each uses one thread, so that registrations are
        reproducible.

    Raises
    ------
    ValueError
        If the data set is of another kind, an engine's program is missing, or the template cannot
        be used.
    BatchError
        If the disk is full or workers cannot be started.
    """
    # imported here and below, so that `timeseries`, the report and the check of a configuration can
    # import this package without ANTs
    from brainmass_core.config.bridged import template_inputs
    from brainmass_core.pipeline.batch import run_batch
    from brainmass_core.pipeline.kept import Job, work_folder
    from brainmass_core.tables import PREPROCESS, read_table

    section, paths = config.datasets[dataset], Paths(config.results)
    if section.kind != "bids":
        raise ValueError(
            f"datasets.{dataset} is of kind {section.kind}: only data of kind bids are "
            "preprocessed; run timeseries"
        )
    settings = config.preprocess
    if lines := missing(settings.engines):
        raise ConfigError("\n".join(lines))
    rows = read_table(paths.scans(dataset), "scans").to_pylist()

    from brainmass_core.preprocess.anatomical.template import chosen_template, template_of
    from brainmass_core.preprocess.distortion.fieldmap import candidates
    from brainmass_core.preprocess.files.derivatives import PreprocessInput, describe
    from brainmass_core.preprocess.scan import preprocess_scan
    from brainmass_core.scans import of_images

    template_of(settings)
    chosen = chosen_template(settings)
    _check_bridge(config, chosen.space)
    given = [path.absolute() for path in (chosen.path, chosen.mask) if path]
    files = tuple(dict.fromkeys([*given, *template_inputs(settings)]))
    key = stage_hash(config, "estimates", dataset)
    results, kept = paths.results.absolute(), work_folder(config, "preprocess", dataset)
    items = {
        row["scan_id"]: PreprocessInput(
            scan=of_images(row),
            settings=settings,
            derivatives=Paths(results).derivatives(dataset),
            results=results,
            key=key,
            steps=kept.absolute() / "steps" / row["scan_id"],
            fieldmaps=tuple(candidates(row["bold_path"])),
            template=files,
        )
        for row in rows
        if row["batch"] == batch and row["excluded_reason"] is None
    }
    describe(Paths(results).derivatives(dataset), dataset, section.path, settings)
    threads = min(threads, os.cpu_count() or 1)
    job = Job(config, "preprocess", dataset, batch, PREPROCESS, threads)
    run_batch(job, items, preprocess_scan)


def _check_bridge(config: Config, space: str) -> None:
    """Refuse a template without a bridge to the atlas, before processing starts."""
    from brainmass_core.atlas import space_of_atlas
    from brainmass_core.spaces.bridges import bridge

    # synthetic data without an atlas use one in the space of the packaged template
    if not all(d.synthetic for d in config.datasets.values() if d.kind != "timeseries"):
        bridge(space_of_atlas(config), space)
