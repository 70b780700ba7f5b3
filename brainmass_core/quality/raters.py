"""The raters of a data set: counts, agreement, disagreements, and ratings to look at again."""

from __future__ import annotations

import json
import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from brainmass_core.config import Config
from brainmass_core.quality.measures import MEASURES
from brainmass_core.readers.ratings import ARTEFACTS, RATINGS, Rating
from brainmass_core.scans.ratings import Decision, decisions_of

log = logging.getLogger(__name__)
RULES = {
    "any": "a scan is excluded if at least one of its raters rated it exclude",
    "majority": "a scan is excluded if more than half of its raters rated it exclude",
    "all": "a scan is excluded if all of its raters rated it exclude",
}
NAMED = 20  # scans in a warning
LABELS = {m.key: m.label for m in MEASURES}


def agreement(ratings: Sequence[Rating]) -> list[dict[str, Any]]:
    """Agreement of each pair of raters over the scans that both have rated.

    Parameters
    ----------
    ratings : sequence of Rating

    Returns
    -------
    list of dict
        ``raters`` (pair of names), ``n`` (scans), ``same`` (fraction with the same rating),
        ``kappa`` and ``weighted``: Cohen's kappa (1960, doi:10.1177/001316446002000104) of the
        three ratings without weights and with linear ones; NaN if both gave every scan one and the
        same rating, which leaves no disagreement to expect by chance.
    """
    by_rater: dict[str, dict[str, str]] = {}
    for one in ratings:
        by_rater.setdefault(one.rater, {})[one.scan_id] = one.rating
    rows = []
    for first, second in combinations(sorted(by_rater), 2):
        both = sorted(by_rater[first].keys() & by_rater[second].keys())
        if not both:
            continue
        a, b = ([by_rater[who][s] for s in both] for who in (first, second))
        rows.append(
            {
                "raters": (first, second),
                "n": len(both),
                "same": float(np.mean([x == y for x, y in zip(a, b, strict=True)])),
                "kappa": _kappa(a, b, None),
                "weighted": _kappa(a, b, "linear"),
            }
        )
    return rows


def _kappa(a: list[str], b: list[str], weights: str | None) -> float:
    if len({*a, *b}) == 1:
        return float("nan")
    with warnings.catch_warnings():  # labels that neither used
        warnings.simplefilter("ignore")
        return float(cohen_kappa_score(a, b, labels=list(RATINGS), weights=weights))


def raters_context(
    config: Config, dataset: str, cohort: pd.DataFrame, link: Any
) -> dict[str, Any] | None:
    """Template variables about the ratings of a data set; None without ``quality.ratings``.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        scan_id, page and page_hash.
    link : callable
        Adds ``link`` to a dict with ``page``.

    Raises
    ------
    RatingsError
        If a file cannot be read or has errors.
    """
    if not config.quality.ratings:
        return None
    decisions = {s: d for s, d in decisions_of(config).items() if s.startswith(f"{dataset}_")}
    pages = dict(zip(cohort["scan_id"], cohort["page"], strict=True))
    known = {s: d for s, d in decisions.items() if s in pages}
    ratings = [r for d in known.values() for r in d.ratings]
    told = _warnings(config, dataset, cohort, decisions)
    for warning in told:
        log.warning("%s: %s %s", dataset, warning["what"], warning["scans"])
    return {
        "n_files": len(config.quality.ratings),
        "n_rated": len(known),
        "n_excluded": sum(d.excluded for d in known.values()),
        "rule": f"{RULES[config.quality.exclude_if]} (quality.exclude_if: "
        f"{config.quality.exclude_if})",
        "warnings": told,
        "counts": _counts(ratings),
        "agreement": [_shown(row) for row in agreement(ratings)],
        "disagreements": [
            link(_disagreement(d) | {"page": pages[s]}) for s, d in known.items() if not d.agreed
        ],
    }


def _warnings(
    config: Config, dataset: str, cohort: pd.DataFrame, decisions: dict[str, Decision]
) -> list[dict[str, str]]:
    """What people should look at: ratings of unknown scans, and of pages that have changed."""
    hashes = dict(zip(cohort["scan_id"], cohort["page_hash"], strict=True))
    others = [n for n in config.datasets if n != dataset and n.startswith(f"{dataset}_")]
    unknown = [
        s
        for s in decisions
        if s not in hashes and not any(s.startswith(f"{other}_") for other in others)
    ]
    stale = [
        f"{r.scan_id} ({r.rating} by {r.rater})"
        for s, d in decisions.items()
        for r in d.ratings
        if isinstance(hashes.get(s), str) and r.page_hash and r.page_hash != hashes[s]
    ]
    told = []
    if unknown:
        what = (
            f"{_n(unknown, 'rated scan')} not in this data set: renamed, removed or misspelt. "
            "These ratings have no effect:"
        )
        told.append({"what": what, "scans": _named(unknown)})
    if stale:
        what = (
            f"{_n(stale, 'rating')} of an earlier version of the page. They still count; look at "
            "these scans again:"
        )
        told.append({"what": what, "scans": _named(stale)})
    return told


def _n(found: list[str], what: str) -> str:
    return f"1 {what} is" if len(found) == 1 else f"{len(found)} {what}s are"


def _named(scans: list[str]) -> str:
    more = f" and {len(scans) - NAMED} more" if len(scans) > NAMED else ""
    return ", ".join(scans[:NAMED]) + more


def _counts(ratings: list[Rating]) -> list[dict[str, Any]]:
    found = Counter((r.rater, r.rating) for r in ratings)
    raters = sorted({r.rater for r in ratings})
    return [{"rater": who} | {word: found[who, word] for word in RATINGS} for who in raters]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    kappas = {k: "–" if np.isnan(row[k]) else f"{row[k]:.2f}" for k in ("kappa", "weighted")}
    return (
        row | kappas | {"raters": " and ".join(row["raters"]), "same": f"{100 * row['same']:.0f} %"}
    )


def _disagreement(decision: Decision) -> dict[str, Any]:
    return {
        "scan_id": decision.scan_id,
        "decision": "excluded" if decision.excluded else "kept",
        "ratings": [
            {
                "rater": r.rater,
                "rating": r.rating,
                "why": "; ".join([*(ARTEFACTS[a] for a in r.artefacts), r.comment]).strip("; "),
            }
            for r in decision.ratings
        ],
    }


def scans_to_rate(cohort: pd.DataFrame, outliers: pd.DataFrame, link: Any) -> dict[str, Any]:
    """Scans with a page, in the order of the names, and all flags.

    Parameters
    ----------
    cohort : DataFrame (n_scans rows)
        scan_id, status, page and page_hash.
    outliers : DataFrame
        scan_id and measure, see `cohort.judged`.

    Returns
    -------
    dict
        ``scans``: list of id, page (relative to the cohort page), hash, status and flags;
        ``flags``: names of all flags.
    """
    flagged: dict[str, list[str]] = {}
    for scan_id, measure in zip(outliers["scan_id"], outliers["measure"], strict=True):
        flagged.setdefault(scan_id, []).append(measure)
    columns = ["scan_id", "status", "page", "page_hash"]
    scans = []
    for scan_id, status, page, page_hash in cohort[columns].itertuples(index=False, name=None):
        where = link({"page": page})["link"]
        if where:
            flags = [label for key, label in LABELS.items() if key in flagged.get(scan_id, ())]
            scans.append(
                {
                    "id": scan_id,
                    "page": where,
                    "hash": page_hash,
                    "status": status,
                    "flags": [*([status] if status != "ok" else []), *flags],
                }
            )
    seen = {flag for scan in scans for flag in scan["flags"]}
    order = ["failed", "excluded", *LABELS.values()]
    return {"scans": scans, "flags": [flag for flag in order if flag in seen]}


def scans_script(scans: list[dict[str, Any]]) -> str:
    """JavaScript that tells the pages of scans their neighbours; a page of files may load it."""
    listed = [{"id": s["id"], "page": s["page"]} for s in scans]
    return f"window.BRAINMASS_SCANS = {json.dumps(listed)};\n"
