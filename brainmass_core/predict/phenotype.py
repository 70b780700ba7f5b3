"""Confounds of new scans from a table, where nothing else says them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from brainmass_core.predict.inputs import Found
from brainmass_core.predict.misfit import PredictError
from brainmass_core.scans.phenotype import MISSING, canonical

COLUMNS = {"site": str, "sex": str, "age": float, "mean_fd": float}
IDS = ("scan_id", "participant_id")


def add_phenotype(found: Found, path: Path) -> None:
    """Fill in site, sex, age and mean_fd of scans that have none, in place.

    Parameters
    ----------
    path : Path
        ``.tsv`` or ``.csv`` with `scan_id` or `participant_id`, and some of these columns. Ids are
        compared as everywhere: ``sub-`` and leading zeros do not matter.

    Raises
    ------
    PredictError
        If the table cannot be read, has none of these columns, or an id twice.
    """
    table = _read(path)
    key = next((c for c in IDS if c in table), None)
    columns = [c for c in COLUMNS if c in table]
    if key is None or not columns:
        raise PredictError(
            f"{path}: found the columns {list(table.columns)}, expected scan_id or participant_id, "
            f"and some of {', '.join(COLUMNS)}; rename them"
        )
    ids = table[key].map(canonical, na_action="ignore")
    twice = sorted(set(ids[ids.duplicated() & ids.notna()]))
    if twice:
        raise PredictError(f"{path}: {key} {twice[:5]} stand twice; keep one row of each")
    known = table.set_index(ids)
    for row in found.rows:
        who = canonical(str(row[key]))
        if who not in known.index:
            continue
        for column in columns:
            value: Any = known.at[who, column]
            if pd.isna(row[column]) and not pd.isna(value):
                row[column] = value


def as_trained(sites: pd.Series, known: list[str]) -> pd.Series:
    """Sites under the names that the model knows.

    Parameters
    ----------
    sites : Series of str
        As the input calls them.
    known : list of str
        ``dataset/site`` of the training scans.

    Returns
    -------
    Series of str
        A name without a data set becomes that of the one data set that has such a site; one that
        several have, or none, stays and so is unseen.
    """
    whole: dict[str, list[str]] = {}
    for name in known:
        whole.setdefault(name.partition("/")[2], []).append(name)
    of = {short: names[0] for short, names in whole.items() if short and len(names) == 1}
    return sites.map(lambda site: site if site in known else of.get(site, site))


def _read(path: Path) -> pd.DataFrame:
    try:
        separator = "\t" if path.suffix == ".tsv" else ","
        table = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (OSError, ValueError) as error:
        raise PredictError(f"{path}: cannot be read as a table ({error}); give another") from None
    table = table.mask(table.isin(MISSING), None)
    for column in ("age", "mean_fd"):
        if column in table:
            table[column] = pd.to_numeric(table[column], errors="coerce")
    return table
