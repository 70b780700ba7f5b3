"""Markdown tables of model cards."""

from __future__ import annotations

from typing import Any

from brainmass_core.pretrain.data.index import Index


def sources_table(index: Index) -> str:
    """Markdown table of the data sets that a model was trained on, and those it must not use."""
    rows = [(s.dataset, s.role, s.n_participants, s.n_scans) for s in index.sources]
    total = ("total", "", sum(r[2] for r in rows), sum(r[3] for r in rows))
    used = table(("data set", "role", "participants", "scans"), [*rows, total])
    return "\n\n".join([used, *(f"Not used: {r.text}." for r in index.refused)])


def table(header: tuple, rows: Any) -> str:
    """Markdown table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
