"""Make the next run process failed and excluded scans again (`brainmass retry`).

The tables of their batches are removed, and an input of each batch changes (`Paths.retried`), so
that Snakemake runs these batches again and all that depends on them; a table that is only missing
is not made again if all later results are there. The other scans of a batch are found in the work
folder (`pipeline.stores`); only failed ones are processed again.
"""

from __future__ import annotations

from pathlib import Path

from brainmass_core.config import Config
from brainmass_core.pipeline.manifest import read_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.stages import batch_stages


def forget_failures(paths: Paths) -> list[Path]:
    """Remove the tables of batches with failed scans, so that Snakemake computes them again.

    Returns
    -------
    list of Path
        The removed tables. Their finished scans are kept in the work folder.
    """
    removed = []
    for manifest in sorted((paths.results / "manifest").glob("*/*/*.parquet")):
        entries = read_manifest(manifest)
        if any(e.status == "failed" for e in entries):
            stage, dataset, batch = manifest.parts[-3], manifest.parts[-2], manifest.stem
            removed.append(_forget(paths, stage, dataset, batch))
            manifest.unlink()
    return removed


def forget_exclusions(config: Config) -> dict[str, list[Path]]:
    """List data sets with excluded scans again; batches of changed scans are computed again.

    Returns
    -------
    dict
        Data set that was listed again to the tables that were removed.

    Raises
    ------
    ScansError
        If a data set cannot be listed.
    """
    paths, removed = Paths(config.results), {}
    for name in config.datasets:
        if not paths.scans(name).exists():
            continue
        from brainmass_core.scans import list_again  # late: it imports readers of images

        batches = list_again(config, name)
        if batches is None:
            continue
        first = next(batch_stages(config, name)).name
        removed[name] = [_forget(paths, first, name, batch) for batch in sorted(batches)]
    return removed


def _forget(paths: Paths, stage: str, dataset: str, batch: int | str) -> Path:
    """Remove the table of a batch and let its job run again."""
    file = paths.retried(stage, dataset, batch)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:  # Snakemake compares contents: a touched file is no change
        stream.write("retried\n")
    table = paths.batch(stage, dataset, batch)
    table.unlink(missing_ok=True)
    return table
