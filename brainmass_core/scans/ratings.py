"""Whom the raters of the quality pages exclude: one decision per scan from all ratings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from brainmass_core.config import Config
from brainmass_core.readers.ratings import ARTEFACTS, Rating, read_ratings

LONGEST_COMMENT = 200  # characters in the reason of an exclusion


@dataclass(frozen=True)
class Decision:
    """What the raters of a scan decided together.

    Attributes
    ----------
    excluded : bool
        By the rule of the configuration.
    agreed : bool
        Whether all raters gave the same rating.
    reason : str
        Who excluded the scan, and why; empty if it stays.
    """

    scan_id: str
    ratings: tuple[Rating, ...]
    excluded: bool
    agreed: bool
    reason: str


def decide(ratings: Iterable[Rating], exclude_if: str) -> dict[str, Decision]:
    """Decide about each rated scan.

    Parameters
    ----------
    ratings : iterable of Rating
    exclude_if : {"any", "majority", "all"}
        A scan is excluded if at least one of its raters, more than half of them, or all of them
        rated it ``exclude``. ``uncertain`` excludes nothing.

    Returns
    -------
    dict
        scan_id to the decision, ordered by scan_id.
    """
    by_scan: dict[str, list[Rating]] = {}
    for one in ratings:
        by_scan.setdefault(one.scan_id, []).append(one)
    return {s: _decision(s, by_scan[s], exclude_if) for s in sorted(by_scan)}


def _decision(scan_id: str, ratings: list[Rating], exclude_if: str) -> Decision:
    ratings = sorted(ratings, key=lambda r: r.rater)
    against = [r for r in ratings if r.rating == "exclude"]
    least = {"any": 1, "majority": len(ratings) // 2 + 1, "all": len(ratings)}[exclude_if]
    excluded = len(against) >= least
    agreed = len({r.rating for r in ratings}) == 1
    reason = _reason(against, len(ratings)) if excluded else ""
    return Decision(scan_id, tuple(ratings), excluded, agreed, reason)


def _reason(against: list[Rating], n_raters: int) -> str:
    """Such as ``rated exclude by Ada (motion; "moves all the time")``."""
    said = []
    for one in against:
        words = [ARTEFACTS[a] for a in one.artefacts]
        if one.comment:
            cut = len(one.comment) > LONGEST_COMMENT
            words.append(f'"{one.comment[:LONGEST_COMMENT]}{"..." if cut else ""}"')
        said.append(f"{one.rater} ({'; '.join(words)})" if words else one.rater)
    of = f", {len(against)} of {n_raters} raters" if n_raters > 1 else ""
    return f"rated exclude by {', '.join(said)}{of}"


def decisions_of(config: Config) -> dict[str, Decision]:
    """The decisions about all rated scans of a study; empty without ``quality.ratings``.

    Raises
    ------
    RatingsError
        If a file cannot be read or has errors.
    """
    if not config.quality.ratings:
        return {}
    return decide(read_ratings(config.quality.ratings), config.quality.exclude_if)


def exclusions_of(config: Config, dataset: str) -> dict[str, str]:
    """scan_id to the reason, of the scans of a data set that raters exclude.

    Raises
    ------
    RatingsError
        If a file cannot be read or has errors.
    """
    decisions = decisions_of(config)
    return {s: d.reason for s, d in decisions.items() if d.excluded and _of(dataset, s)}


def _of(dataset: str, scan_id: str) -> bool:
    return scan_id.startswith(f"{dataset}_")
