"""Simulated people: lasting traits, passing states, and short scans of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRAIT_EFFECT = 0.6  # of a trait of one SD, on the log of its source's standard deviation
STATE_EFFECT = 0.9  # the same of a state, within a scan
DWELL = 8.0  # timepoints after which the correlation of a state with itself is 1/e
SOURCE_SD = 0.7  # of a source without trait or state, before its pattern
NOISE_SD = 1.0  # of each ROI
CHUNK = 500  # people simulated at a time: bounds the memory


@dataclass(frozen=True)
class Population:
    """What all people share: the patterns of ROIs that traits and states modulate.

    Attributes
    ----------
    traits : ndarray (n_traits, n_rois)
    states : ndarray (n_rois - n_traits, n_rois)
        Orthogonal to each other and to the traits.
    """

    traits: np.ndarray
    states: np.ndarray

    @property
    def n_rois(self) -> int:
        """Number of ROIs."""
        return self.traits.shape[1]


@dataclass(frozen=True)
class Cohort:
    """Simulated scans, one of each person.

    Attributes
    ----------
    series : ndarray (n_people, n_timepoints, n_rois), float32
    label : ndarray (n_people,) of int
        1 if the first trait is positive, else 0.
    """

    series: np.ndarray
    label: np.ndarray


def population(n_rois: int, n_traits: int, seed: int) -> Population:
    """Draw the patterns of a population: random orthogonal vectors of length ``0.4 sqrt(n_rois)``.

    Raises
    ------
    ValueError
        If no ROI is left for states.
    """
    if not 0 < n_traits < n_rois:
        raise ValueError(f"found {n_traits} traits of {n_rois} ROIs, expected 1 to {n_rois - 1}")
    square = np.random.default_rng([seed, 0]).standard_normal((n_rois, n_rois))
    patterns = np.linalg.qr(square)[0].T * 0.4 * np.sqrt(n_rois)
    return Population(patterns[:n_traits], patterns[n_traits:])


def simulate(
    people: Population, n_people: int, n_timepoints: int, seed: int, informative: bool = True
) -> Cohort:
    """Scan people once each.

    A scan is a sum of independent sources, each with the pattern of a trait or of a state, and
    noise. The standard deviation of a trait's source is constant in a person; that of a state's
    varies within the scan, as the exponential of a first-order autoregressive process.

    Parameters
    ----------
    seed : int
        Of the people; with other seeds there are other people of the same population.
    informative : bool
        Whether traits change the scans. Otherwise the label has nothing to do with them.
    """
    n_traits, n_states = len(people.traits), len(people.states)
    series = np.empty((n_people, n_timepoints, people.n_rois), np.float32)
    label = np.empty(n_people, np.int64)
    keep = np.exp(-1 / DWELL)
    for i, first in enumerate(range(0, n_people, CHUNK)):
        rng = np.random.default_rng([seed, 1, i])
        here = slice(first, min(first + CHUNK, n_people))
        n = here.stop - first
        trait = rng.standard_normal((n, n_traits))
        label[here] = trait[:, 0] > 0
        of_trait = np.exp(TRAIT_EFFECT * informative * trait)[:, None]
        sources = SOURCE_SD * of_trait * rng.standard_normal((n, n_timepoints, n_traits))
        found = sources @ people.traits + NOISE_SD * rng.standard_normal(series[here].shape)
        state = rng.standard_normal((n, n_states))
        for t in range(n_timepoints):
            state = keep * state + np.sqrt(1 - keep**2) * rng.standard_normal((n, n_states))
            source = SOURCE_SD * np.exp(STATE_EFFECT * state) * rng.standard_normal((n, n_states))
            found[:, t] += source @ people.states
        series[here] = found
    return Cohort(series, label)
