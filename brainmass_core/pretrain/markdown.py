"""Markdown tables of model cards."""

from __future__ import annotations

from typing import Any

from brainmass_core.config import Config
from brainmass_core.pretrain.data.index import Index


def sources_table(index: Index) -> str:
    """Markdown table of the data sets that a model was trained on, and those it must not use."""
    names = [(s.dataset, s.role) for s in index.sources]
    counts = {
        "participants": [s.n_participants for s in index.sources],
        "scans": [s.n_scans for s in index.sources],
        "participants excluded": [s.n_left_out for s in index.sources],
    }
    if not any(counts["participants excluded"]):  # unless it is the encoder of a fold
        del counts["participants excluded"]
    rows = [(*name, *n) for name, *n in zip(names, *counts.values(), strict=True)]
    total = ("total", "", *map(sum, counts.values()))
    used = table(("data set", "role", *counts), [*rows, total])
    return "\n\n".join([used, *(f"Not used: {r.text}." for r in index.refused)])


def held_out(config: Config, index: Index) -> str:
    """Whom an encoder was not trained on, as the beginning of a sentence."""
    s = config.pretrain
    if not s.fold:
        return "Participants kept for evaluation were not used"
    n = sum(source.n_left_out for source in index.sources)
    return (
        f"This is encoder {s.fold} of {s.folds} with the same settings, each trained without one "
        f"fold of the participants. Fold {s.fold}, {n} participants, was not used: only they are "
        "tested with this encoder. `trained_on.parquet` lists the scans that were used. "
        "Participants of the fold and those kept for evaluation are excluded"
    )


def table(header: tuple, rows: Any) -> str:
    """Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
