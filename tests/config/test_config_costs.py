"""The default number of batches: duration of jobs, memory, and stability when a study grows."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.config.costs import LONGEST_JOB, MOST_SCANS, default_batches, job_seconds

SHORTEST_JOB = 600.0  # seconds
KINDS = ("bids", "derivatives", "timeseries")
kinds, sizes = st.sampled_from(KINDS), st.integers(1, 100_000)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("bids", [1, 1, 4, 64, 512]),
        ("derivatives", [1, 1, 1, 8, 64]),
        ("timeseries", [1, 1, 1, 4, 32]),
    ],
)
def test_batches_of_studies_of_all_sizes(kind: str, expected: list[int]) -> None:
    assert [default_batches(kind, n) for n in (1, 10, 1000, 12_527, 70_781)] == expected


@given(kinds, sizes)
def test_a_job_lasts_at_most_two_hours_and_fits_into_memory(kind: str, n: int) -> None:
    scans = n / default_batches(kind, n)
    assert job_seconds(kind, scans) <= LONGEST_JOB
    assert scans <= MOST_SCANS


@given(st.sampled_from(["bids", "derivatives"]), sizes)
def test_a_job_of_several_lasts_at_least_ten_minutes(kind: str, n: int) -> None:
    batches = default_batches(kind, n)
    assert batches == 1 or job_seconds(kind, n / batches) >= SHORTEST_JOB


@given(sizes)
def test_batches_of_ready_series_are_at_least_half_as_large_as_memory_allows(n: int) -> None:
    batches = default_batches("timeseries", n)
    assert batches == 1 or n / batches > MOST_SCANS / 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_growing_study_is_dealt_again_only_at_powers_of_two(kind: str) -> None:
    found = [default_batches(kind, n) for n in range(20_000)]
    changes = [n for n, (before, after) in enumerate(pairwise(found)) if before != after]
    assert found == sorted(found)
    assert changes == [2**k for k in range(15) if 2**k in changes]
    assert changes[0] >= 256


def test_without_scans_there_is_one_batch() -> None:
    assert default_batches("bids", 0) == 1
