"""The stage `series_model`: one analysis of a pre-trained BrainLM, its table and figure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from brainmass_core.config import Config
from brainmass_core.drawing import draw
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.series_model.by_parcel import attention, networks, perturbation
from brainmass_core.series_model.outcome import Outcome
from brainmass_core.series_model.predicting import forecast, reconstruction
from brainmass_core.tables import SERIES_MODEL, atomic_path, from_rows, write_table

log = logging.getLogger(__name__)
ANALYSES: Mapping[str, Callable[[Config], Outcome]] = {
    "reconstruction": reconstruction,
    "forecast": forecast,
    "networks": networks,
    "attention": attention,
    "perturbation": perturbation,
}


def run(config: Config, analysis: str) -> None:
    """Compute one of ``series_model.analyses`` and write its figure, then its table.

    Raises
    ------
    UnseenError
        If there are too few participants to evaluate.
    LeakError
        If pre-training used one of the evaluated participants.
    ModelError
        If the model or its scaling is missing.
    """
    paths, found = Paths(config.results), ANALYSES[analysis](config)
    png, _ = draw(found.draw)
    with atomic_path(paths.series_model(f"{analysis}.png")) as path:
        path.write_bytes(png)
    table = from_rows(found.rows, SERIES_MODEL[analysis])
    made_by = stage_hash(config, "series_model", analysis)
    target = paths.series_model(f"{analysis}.parquet")
    write_table(target, table, f"series_model_{analysis}", made_by)
    log.info("series_model: %s: %s", analysis, target)
