"""Make the next run process failed and excluded scans again (`brainmass retry`).

The tables of their batches are removed, so that Snakemake runs these batches again. The other scans
of a batch are found in the work folder (`pipeline.stores`); only failed ones are processed again.
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
            table = paths.batch(stage, dataset, batch)
            table.unlink(missing_ok=True)
            manifest.unlink()
            removed.append(table)
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
        removed[name] = [paths.batch(first, name, batch) for batch in sorted(batches)]
        for table in removed[name]:
            table.unlink(missing_ok=True)
    return removed
