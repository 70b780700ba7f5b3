"""Scans that enter each stage and their outcomes, for `brainmass status` and the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from brainmass_core.config import Config
from brainmass_core.pipeline.eligibility import may_be_pretrained_on
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.stages import batch_stages
from brainmass_core.tables import read_table


def account(
    config: Config, dataset: str, outcomes: Callable[[str], Mapping[str, str]], waiting: bool
) -> Iterator[tuple[str, set[str], dict[str, str]]]:
    """Iterate over the stages of a data set, in order.

    Parameters
    ----------
    outcomes : callable
        Stage to the status of each scan that has one: ``ok``, ``failed`` or ``excluded``.
    waiting : bool
        Whether a scan without an outcome is expected to enter the later stages.

    Yields
    ------
    str
        Stage.
    set of str
        Scans, or joined runs (`connectivity.unit`), that enter the stage.
    dict
        Status of the scans that have one.
    """
    columns = ["scan_id", "split", "excluded_reason"]
    rows = read_table(Paths(config.results).scans(dataset), "scans", columns).to_pylist()
    everybody = {row["scan_id"] for row in rows}
    alive = {row["scan_id"] for row in rows if row["excluded_reason"] is None}
    yield "scans", everybody, {s: "ok" if s in alive else "excluded" for s in everybody}
    seen = {row["scan_id"] for row in rows if may_be_pretrained_on(row["split"])}
    units = None
    if config.connectivity.unit != "run":
        # imported late, because it loads readers that `status` does not need
        from brainmass_core.scans.units import (
            read_units,
        )

        units = read_units(config, dataset)
    for known in batch_stages(config, dataset):
        if units is not None and known.name == "connectivity":  # quality pages are for single runs
            alive, seen = units.having(alive), units.having(seen)
        # failed and excluded scans also have a quality page
        entered = {"pfc": alive & seen, "quality": everybody}.get(known.name, alive)
        found = {s: o for s, o in outcomes(known.name).items() if s in entered}
        yield known.name, entered, found
        if known.selects:
            done = {s for s, outcome in found.items() if outcome == "ok"}
            alive = done | (entered - set(found)) if waiting else done
