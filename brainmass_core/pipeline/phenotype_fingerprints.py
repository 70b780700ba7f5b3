"""Fingerprints of phenotype tables: of the values that a stage reads, by participant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from brainmass_core.config import Dataset
from brainmass_core.pipeline.fingerprints import (
    AS_WRITTEN,
    WRITTEN_TABLE,
    Inputs,
    digest,
    phenotype_rows,
    state,
)

LARGEST_TABLE = 50_000_000  # bytes; any change of a larger phenotype table affects all rows


def table_state(dataset: Dataset) -> str:
    """State of the phenotype table; for a synthetic one that was just written, its initial
    state."""
    path, left = dataset.phenotype.path, dataset.path / WRITTEN_TABLE
    if path is not None:
        return state(path)
    found = state(dataset.path / "participants.tsv")
    untouched = found == "missing" or (left.exists() and found == state(left))
    return AS_WRITTEN if dataset.synthetic and untouched else found


def phenotypes(name: str, dataset: Dataset, columns: Iterable[str | None]) -> dict[str, str]:
    """Normalised id of each participant to the values in some columns.

    Empty without such a column. If the table cannot be read or is very large, its state is used
    instead of its content, with the key ``*``. For synthetic data only rows changed since writing
    count.
    """
    columns, left = list(columns), dataset.path / WRITTEN_TABLE
    found = _phenotypes(name, dataset, columns)
    if dataset.synthetic is None or dataset.phenotype.path is not None or not left.exists():
        return found
    table = dataset.phenotype.model_copy(update={"path": left})
    before = _phenotypes(name, dataset.model_copy(update={"phenotype": table}), columns)
    gone = {who: "deleted" for who in before if who not in found}
    return {who: text for who, text in found.items() if before.get(who) != text} | gone


def _phenotypes(name: str, dataset: Dataset, columns: list[str | None]) -> dict[str, str]:
    from brainmass_core.scans.phenotype import canonical, phenotype_path

    wanted = [c for c in dict.fromkeys(columns) if c is not None]
    path = phenotype_path(dataset)
    if not wanted or path is None:
        return {}
    settings = dataset.phenotype
    keys = [settings.id_column, *([settings.scan_column] if settings.scan_column else [])]
    if path.exists() and path.stat().st_size > LARGEST_TABLE:
        return {"*": state(path)}
    rows = phenotype_rows(name, dataset, [*keys, *wanted])
    if not rows:
        return {"*": state(path)}
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(canonical(row[0] or ""), []).append("\x1f".join(v or "" for v in row))
    return {who: digest(sorted(lines)) for who, lines in found.items()}


def with_phenotypes(inputs: Inputs, rows: Mapping[str, str]) -> Inputs:
    """Add the result of `phenotypes` to the inputs of each participant."""
    from brainmass_core.scans.phenotype import canonical

    if not rows:
        return inputs
    everybody = inputs.several or "*" in rows
    shared = [inputs.shared, *(f"{w}\x1f{rows[w]}" for w in sorted(rows))] if everybody else []
    return replace(
        inputs,
        people={w: digest([t, rows.get(canonical(w), "")]) for w, t in inputs.people.items()},
        shared=digest(shared) if everybody else inputs.shared,
    )
