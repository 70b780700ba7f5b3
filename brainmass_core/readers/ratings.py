"""Read the quality ratings that people download from the quality pages.

One row is one rater's rating of one scan. Columns are named as in BIDS; ``n/a`` is an empty value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from brainmass_core.readers.delimited import read_delimited
from brainmass_core.readers.files import FileError
from brainmass_core.readers.limits import quoted

COLUMNS = ("scan_id", "rating", "artefacts", "comment", "rater", "time", "page_hash")
RATINGS = ("accept", "uncertain", "exclude")
ARTEFACTS = {
    "motion": "motion",
    "ghosting": "ghosting",
    "dropout": "signal dropout",
    "skull_stripping": "skull stripping",
    "registration": "registration",
    "other": "other",
}
EMPTY = ("", "n/a")
MAX_ERRORS = 20


class RatingsError(ValueError):
    """Files of ratings that cannot be used; every error is listed."""


@dataclass(frozen=True)
class Rating:
    """One rater's rating of one scan.

    Attributes
    ----------
    rating : str
        One of `RATINGS`.
    artefacts : tuple of str
        Keys of `ARTEFACTS`, in their order.
    time : str
        When it was given, ISO 8601; empty if unknown.
    page_hash : str
        Hash of what the quality page showed, see `quality.page.page_hash`; empty if unknown.
    place : str
        File and line, for messages.
    """

    scan_id: str
    rating: str
    artefacts: tuple[str, ...]
    comment: str
    rater: str
    time: str
    page_hash: str
    place: str


def read_ratings(files: Iterable[Path]) -> list[Rating]:
    """Read and check files of ratings.

    Parameters
    ----------
    files : iterable of Path
        Tables as downloaded from the quality pages, one or several of each rater.

    Returns
    -------
    list of Rating
        Ordered by scan and rater.

    Raises
    ------
    RatingsError
        Listing unreadable files, missing columns, unknown words, missing raters, and scans that one
        rater has rated twice.
    """
    found: list[Rating] = []
    errors: list[str] = []
    for file in files:
        try:
            rows = list(_rows(Path(file)))
        except FileError as error:
            errors.append(str(error))
            continue
        found += [row for row in rows if isinstance(row, Rating)]
        errors += [row for row in rows if isinstance(row, str)]
    errors += _repeated(found)
    if errors:
        more = len(errors) - MAX_ERRORS
        shown = errors[:MAX_ERRORS] + ([f"and {more} more"] if more > 0 else [])
        raise RatingsError("\n".join(shown))
    return sorted(found, key=lambda r: (r.scan_id, r.rater))


def _rows(file: Path) -> Iterator[Rating | str]:
    """Ratings of a file, or an error for a row."""
    table = read_delimited(file)
    lost = [name for name in COLUMNS if name not in table]
    if lost:
        raise FileError(
            f"{file}: no column {', '.join(lost)}, expected {', '.join(COLUMNS)}; use the file "
            "that a quality page downloads"
        )
    for line, row in zip(table.index, table[list(COLUMNS)].to_dict("records"), strict=True):
        try:
            yield _rating(row, f"{file}: line {line}")
        except ValueError as error:
            yield f"{file}: line {line}: {error}"


def _rating(row: dict[Any, str], place: str) -> Rating:
    cells = {str(k): "" if v in EMPTY else v for k, v in row.items()}
    for name in ("scan_id", "rater"):
        if not cells[name]:
            raise ValueError(f"{name} is empty; fill it in, or remove the row")
    if cells["rating"] not in RATINGS:
        raise ValueError(
            f"found rating {quoted(cells['rating'])}, expected {', '.join(RATINGS)}; correct it, "
            "or rate the scan on its page"
        )
    ticked = {a.strip() for a in cells["artefacts"].split(";")} - {""}
    if odd := sorted(ticked - set(ARTEFACTS)):
        raise ValueError(
            f"found artefacts {', '.join(map(quoted, odd))}, expected {', '.join(ARTEFACTS)}, "
            "separated by semicolons; write others into the comment"
        )
    if cells["time"]:
        try:
            datetime.fromisoformat(cells["time"])
        except ValueError:
            raise ValueError(
                f"found time {quoted(cells['time'])}, expected ISO 8601, such as "
                "2026-11-30T20:15:00Z; correct it, or write n/a"
            ) from None
    kept = tuple(a for a in ARTEFACTS if a in ticked)
    return Rating(**cells | {"artefacts": kept, "place": place})  # type: ignore[arg-type]


def _repeated(ratings: list[Rating]) -> list[str]:
    first: dict[tuple[str, str], Rating] = {}
    errors = []
    for one in ratings:
        before = first.setdefault((one.scan_id, one.rater), one)
        if before is not one:
            errors.append(
                f"{one.place}: {one.rater} has rated {one.scan_id} before, in {before.place}; keep "
                "one of the two rows (a later download of a rater contains the earlier ones)"
            )
    return errors
