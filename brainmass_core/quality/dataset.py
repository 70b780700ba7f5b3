"""The cohort page of a data set, and the table of all its scans."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from scipy import stats

from brainmass_core.config import Config
from brainmass_core.intervals import fixed, side_of, span
from brainmass_core.pages import render
from brainmass_core.pipeline.paths import Paths
from brainmass_core.quality import cohort as people
from brainmass_core.quality import cohort_charts as charts
from brainmass_core.quality.duplicates import duplicate_rows
from brainmass_core.quality.embed import chart, rich_chart
from brainmass_core.quality.measures import MEASURES, Reference
from brainmass_core.quality.motion import MotionInFc, motion_in_fc
from brainmass_core.quality.page import LIGHTS, threshold_text
from brainmass_core.tables import atomic_path
from brainmass_core.tables.text import write_text_table

log = logging.getLogger(__name__)
MAX_ROWS = 200
BY_KEY = {m.key: m for m in MEASURES}


def run_dataset(config: Config, dataset: str) -> None:
    """Write the cohort page of a data set and ``scans.csv`` in the same folder.

    Raises
    ------
    TableError
        If a table cannot be read.
    """
    paths = Paths(config.results)
    cohort = people.read_cohort(config, dataset)
    page = paths.quality(dataset)
    with atomic_path(page) as temporary:
        temporary.write_text(dataset_page(config, dataset, cohort), encoding="utf-8")
    with atomic_path(paths.quality(dataset, "scans.csv")) as temporary:
        shown = cohort.assign(flags=[" ".join(f) if f is not None else "" for f in cohort["flags"]])
        write_text_table(temporary, shown, missing="", float_format="%.6g")
    log.info("quality: %s", page)


def dataset_page(config: Config, dataset: str, cohort: pd.DataFrame) -> str:
    """HTML of the cohort page.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        Result of `cohort.read_cohort`.
    """
    found, outliers = people.judged(cohort, config)
    lost = people.exclusions(cohort)
    names = people.group_columns(config, dataset)
    context = {
        "title": f"Quality of {dataset}",
        "dataset": dataset,
        "synthetic": config.datasets[dataset].synthetic is not None,
        "pages": config.quality.with_page,
        "outlier_z": config.quality.outlier_z,
        "max_rows": MAX_ROWS,
        "light_names": LIGHTS,
        "flow": people.flow(cohort),
        "duplicates": duplicate_rows(config, dataset)[:MAX_ROWS],
        "exclusions": [_linked(config, dataset, r) for r in people.head(lost, MAX_ROWS)],
        "outliers": [_outlier(config, dataset, r) for r in people.head(outliers, MAX_ROWS)],
        "distributions": distributions(config, cohort, found),
        "differences": difference_rows(cohort, names),
        "groups": names,
        "freedom": freedom(cohort),
        **_numbers(cohort, lost, outliers),
        **motion_context(motion_in_fc(config, dataset, cohort)),
    }
    return render("dataset.html.jinja", context, "brainmass_core.quality")


def _numbers(cohort: pd.DataFrame, lost: pd.DataFrame, outliers: pd.DataFrame) -> dict[str, int]:
    """Numbers of scans, participants, failed or excluded scans, and outliers."""
    return {
        "n_scans": len(cohort),
        "n_people": cohort["participant_id"].nunique(),
        "n_ok": int((cohort["status"] == "ok").sum()),
        "n_standing_out": outliers.loc[outliers["status"] == "ok", "scan_id"].nunique(),
        "n_exclusions": len(lost),
        "n_outliers": len(outliers),
    }


def _linked(config: Config, dataset: str, row: dict[str, Any]) -> dict[str, Any]:
    """Add the link to the scan's page, empty if it has none."""
    page = row.get("page")
    if not isinstance(page, str) or not page:
        return row | {"link": ""}
    start = Paths(config.results).quality(dataset).parent
    return row | {"link": quote(os.path.relpath(config.results / page, start))}


def _outlier(config: Config, dataset: str, row: dict[str, Any]) -> dict[str, Any]:
    measure = BY_KEY[row["measure"]]
    z = row["z"]
    return _linked(config, dataset, row) | {
        "label": measure.label,
        "shown": measure.text(row["value"]),
        "threshold": threshold_text(measure, config),
        "z_text": f"{z:+.1f}" if np.isfinite(z) else "–",
    }


def distributions(
    config: Config, cohort: pd.DataFrame, found: dict[str, Reference]
) -> list[dict[str, str]]:
    """One chart per measure with values.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        Result of `cohort.read_cohort`.
    found : dict
        Key of a measure to its reference values.

    Returns
    -------
    list of dict
        uri, label and caption.
    """
    kept = cohort["status"] == "ok"
    shown = []
    for measure in MEASURES:
        values = cohort[measure.key].astype(float)
        known = values.notna()
        if not known.any():
            continue
        make = partial(
            charts.distribution_chart,
            measure,
            values[known & kept].to_numpy(),
            values[known & ~kept].to_numpy(),
            measure.threshold(config),
            found.get(measure.key),
            config.quality.outlier_z,
        )
        caption = f"n = {int(known.sum())}, median {measure.text(float(values.median()))}"
        limit = threshold_text(measure, config)
        text = caption if limit == "–" else f"{caption}, {limit}"
        shown.append({"uri": chart(make), "label": measure.label, "caption": text})
    return shown


def difference_rows(cohort: pd.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    """The table of group differences.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        Result of `cohort.read_cohort`.
    names : list of str
        Columns that define groups.

    Returns
    -------
    list of dict
        Texts, one dict per comparison.
    """
    return [
        {
            "column": r["column"],
            "measure": r["measure"].label,
            "groups": people.difference_text(r["measure"], r["found"]),
            "test": r["found"].test,
            "effect": f"{r['found'].effect:+.2f}",
            "p": _p(r["found"].p),
            "q": _p(r["q"]),
            "differs": r["q"] < people.ALPHA,
        }
        for r in people.differences(cohort, names)
    ]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def motion_context(result: MotionInFc | str) -> dict[str, Any]:
    """Template variables about QC-FC."""
    if isinstance(result, str):
        return {"qcfc": None, "qcfc_missing": result}
    found, distance = result.found, result.distance
    said = {
        "n": found.n,
        "n_left_out": result.n_left_out,
        "covariates": " and ".join(result.covariates),
        "median": f"{found.median_abs_r:.3f}",
        "expected": f"{stats.t.ppf(0.75, found.dof) / np.sqrt(found.dof):.3f}",
        "significant": f"{100 * found.significant():.1f}",
        "histogram": chart(partial(charts.qcfc_histogram, result)),
        "distance": None,
    }
    if distance is not None:
        said["distance"] = {
            "rho": fixed(distance.rho, 3, "+"),
            "interval": span(distance.low, distance.high, 3, "+"),
            "depends": side_of(distance.low, distance.high, 0) in ("above", "below"),
            "uri": rich_chart(partial(charts.distance_chart, result)),
        }
    return {"qcfc": said, "qcfc_missing": ""}


def freedom(cohort: pd.DataFrame) -> dict[str, str] | None:
    """Chart of residual degrees of freedom against motion; None if either is unknown.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        Result of `cohort.read_cohort`.

    Returns
    -------
    dict or None
        uri, and Spearman's rho with its p.
    """
    known = cohort[(cohort["status"] == "ok")].dropna(subset=["mean_fd", "residual_dof"])
    if len(known) < 5:
        return None
    motion, dof = known["mean_fd"].to_numpy(float), known["residual_dof"].to_numpy(float)
    if np.ptp(motion) == 0 or np.ptp(dof) == 0:
        return None
    rho = stats.spearmanr(motion, dof)
    return {
        "uri": chart(partial(charts.freedom_chart, motion, dof)),
        "rho": f"{rho.statistic:+.2f}",
        "p": _p(float(rho.pvalue)),
    }
