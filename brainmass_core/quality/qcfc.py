"""Effect of head motion on functional connectivity: QC-FC and its distance dependence.

QC-FC is, for each edge, the correlation over participants between mean framewise displacement and
FC (Power 2015; Ciric 2017, doi:10.1016/j.neuroimage.2017.03.020). Motion artefact makes it positive
for short edges and weaker or negative for long ones. Everything is computed from sums over batches,
so only one batch of FC is in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

N_DRAWS = 300
MAX_EDGES = 5000  # maximum for the bootstrap of the distance dependence
CONSTANT = 1e-12


@dataclass(frozen=True)
class QcFc:
    """QC-FC of a cohort.

    Attributes
    ----------
    r : ndarray (n_edges,)
        Partial correlation of motion and FC; NaN for edges that do not vary.
    p, q : ndarray (n_edges,)
        Two-sided p, and p after control of the false discovery rate (Benjamini-Hochberg).
    n : int
        People.
    dof : int
        Degrees of freedom of each correlation.
    """

    r: np.ndarray
    p: np.ndarray
    q: np.ndarray
    n: int
    dof: int

    @property
    def median_abs_r(self) -> float:
        """Median of |r| over edges."""
        return float(np.nanmedian(np.abs(self.r)))

    def significant(self, alpha: float = 0.05) -> float:
        """Fraction of edges with q below `alpha`."""
        known = self.q[np.isfinite(self.q)]
        return float((known < alpha).mean()) if len(known) else 0.0


@dataclass(frozen=True)
class DistanceDependence:
    """Spearman correlation of QC-FC with edge length and its bootstrap interval over
    participants."""

    rho: float
    low: float
    high: float
    n_edges: int


class QcFcSums:
    """Running sums for the exact computation of QC-FC.

    Parameters
    ----------
    n_edges : int
    n_covariates : int
    chosen : ndarray of int, optional
        Edges whose sums are also bootstrapped; default `evenly_chosen`.
    n_draws : int
        Bootstrap draws.
    """

    def __init__(
        self,
        n_edges: int,
        n_covariates: int = 0,
        chosen: np.ndarray | None = None,
        n_draws: int = N_DRAWS,
    ) -> None:
        width = 2 + n_covariates
        self.chosen = evenly_chosen(n_edges) if chosen is None else chosen
        self.n_draws, self.n = n_draws, 0
        self.xx, self.xy = np.zeros((width, width)), np.zeros((width, n_edges))
        self.yy = np.zeros(n_edges)
        self.boot_xx = np.zeros((n_draws, width, width))
        self.boot_xy = np.zeros((width, n_draws, len(self.chosen)))
        self.boot_yy = np.zeros((n_draws, len(self.chosen)))

    def add(
        self,
        fc: np.ndarray,
        motion: np.ndarray,
        covariates: np.ndarray,
        seeds: Sequence[int],
    ) -> None:
        """Add participants.

        Parameters
        ----------
        fc : ndarray (n_people, n_edges)
        motion : ndarray (n_people,)
            Mean framewise displacement.
        covariates : ndarray (n_people, n_covariates)
            With about zero mean and unit variance, for numerical accuracy.
        seeds : sequence of int
            One per participant; it determines the bootstrap counts, so results do not depend on
            batches and their order.
        """
        fc = np.asarray(fc, dtype=np.float64)
        x = np.column_stack([np.ones(len(fc)), motion, covariates])
        self.n += len(fc)
        self.xx += x.T @ x
        self.xy += x.T @ fc
        self.yy += np.sum(fc**2, axis=0)
        # Poisson bootstrap, which does not need a list of all participants
        drawn = [np.random.default_rng(s).poisson(1.0, self.n_draws) for s in seeds]
        weights = np.array(drawn, dtype=np.float64).reshape(len(fc), self.n_draws)
        some = fc[:, self.chosen]
        self.boot_xx += np.einsum("nb,nj,nk->bjk", weights, x, x, optimize=True)
        for j, column in enumerate(x.T):
            self.boot_xy[j] += (weights * column[:, None]).T @ some
        self.boot_yy += weights.T @ some**2

    def qc_fc(self) -> QcFc:
        """QC-FC of all participants added so far.

        Raises
        ------
        ValueError
            If there are too few participants.
        """
        dof = self.n - self.xx.shape[0]
        if dof < 1:
            raise ValueError(
                f"found {self.n} participants, expected at least {self.xx.shape[0] + 1} for a "
                f"partial correlation with {self.xx.shape[0] - 2} covariates"
            )
        r = partial_correlation(self.xx, self.xy, self.yy)
        p = p_values(r, dof)
        return QcFc(r, p, adjusted(p), self.n, dof)

    def distance_dependence(self, length: np.ndarray, level: float = 0.95) -> DistanceDependence:
        """Correlation of QC-FC with the length of edges.

        Parameters
        ----------
        length : ndarray (n_edges,)
            mm.
        level : float
            Level of the percentile interval over bootstrap draws of participants.
        """
        r = partial_correlation(self.xx, self.xy, self.yy)
        distance = length[self.chosen]
        draws = [
            _spearman(
                partial_correlation(self.boot_xx[b], self.boot_xy[:, b], self.boot_yy[b]), distance
            )
            for b in range(self.n_draws)
        ]
        tail = 100 * (1 - level) / 2
        low, high = np.nanpercentile(draws, [tail, 100 - tail])
        return DistanceDependence(_spearman(r, length), float(low), float(high), len(r))


def evenly_chosen(n_edges: int, limit: int = MAX_EDGES) -> np.ndarray:
    """Indices of at most `limit` evenly spaced edges.

    Returns
    -------
    ndarray (min(n_edges, limit),) of int
    """
    n = min(n_edges, limit)
    return np.arange(n) * n_edges // n


def partial_correlation(xx: np.ndarray, xy: np.ndarray, yy: np.ndarray) -> np.ndarray:
    """Correlation of the second column of x with each y, with the other columns regressed out.

    Parameters
    ----------
    xx : ndarray (n_columns, n_columns)
        x'x; the first column of x is 1.
    xy : ndarray (n_columns, n_edges)
        x'y.
    yy : ndarray (n_edges,)
        Sum of y².

    Returns
    -------
    ndarray (n_edges,)
        In [-1, 1]; NaN if motion or the edge does not vary beyond the covariates.
    """
    rest = [0, *range(2, len(xx))]
    # duplicate covariates must not cause errors
    weights = np.linalg.pinv(xx[np.ix_(rest, rest)], hermitian=True)
    half = weights @ xy[rest]
    motion = xx[1, 1] - xx[1, rest] @ weights @ xx[rest, 1]
    spread = yy - np.sum(xy[rest] * half, axis=0)
    shared = xy[1] - xx[1, rest] @ half
    varies = (spread > CONSTANT * np.maximum(yy, 1.0)) & (motion > CONSTANT * xx[1, 1])
    scale = np.sqrt(np.where(varies, spread * motion, 1.0))
    return np.where(varies, np.clip(shared / scale, -1, 1), np.nan)


def p_values(r: np.ndarray, dof: int) -> np.ndarray:
    """Two-sided p of correlations `r` with `dof` degrees of freedom (Student's t).

    Parameters
    ----------
    r : ndarray (n_edges,)

    Returns
    -------
    ndarray (n_edges,)
    """
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(dof / (1 - r**2))
    return 2 * stats.t.sf(t, dof)


def adjusted(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg q of known p-values; NaN is preserved.

    Parameters
    ----------
    p : ndarray (n,)

    Returns
    -------
    ndarray (n,)
    """
    q = np.full_like(p, np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known])
    return q


def edge_lengths(xyz: np.ndarray) -> np.ndarray:
    """Distances (n_edges,) between parcel centroids (n_rois, 3), upper triangle, row-major.

    Parameters
    ----------
    xyz : ndarray (n_rois, 3)
        mm.

    Returns
    -------
    ndarray (n_edges,)
        mm.
    """
    rows, columns = np.triu_indices(len(xyz), 1)
    return np.linalg.norm(xyz[rows] - xyz[columns], axis=1)


def _spearman(r: np.ndarray, length: np.ndarray) -> float:
    known = np.isfinite(r) & np.isfinite(length)
    if known.sum() < 3:
        return float("nan")
    ranks = stats.rankdata(r[known]), stats.rankdata(length[known])
    return float(np.corrcoef(*ranks)[0, 1])
