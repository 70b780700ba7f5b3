"""How often 95 % intervals of cross-validated AUCs contain the truth, in simulated cohorts.

The cohorts are those of `tests/finetune/test_finetune_coverage.py`: participants of two classes,
whose features are normal with unit variance, and whose means differ by a distance (in SD) that is
spread evenly over the features. Two methods use one half of the features each; both classify by the
difference of the class means. So both are equally good: their true difference is 0. Truth is the
AUC in the population, averaged over the models of all cohorts. Cohorts are computed together, which
needs balanced folds; intervals are those of the package, and for comparison nested cross-validation
(Bates, Hastie and Tibshirani 2023, doi:10.1080/01621459.2023.2197686).

    python benchmarks/interval_coverage.py --cohorts 2000 --out coverage.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from brainmass_core.finetune.statistics.inference import corrected_interval
from brainmass_core.finetune.statistics.metrics import LEVELS, Predictions, bootstrap
from brainmass_core.finetune.statistics.spread import Spread

K = 5  # folds


def arrange(rng: np.random.Generator, n_cohorts: int, n_repeats: int, m: int) -> np.ndarray:
    """Fold assignments (n_cohorts, n_repeats, 2 classes, K, m): numbers within the class."""
    return rng.random((n_cohorts, n_repeats, 2, K * m)).argsort(-1).reshape(n_cohorts, -1, 2, K, m)


def take(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Features (..., 2, K, m, p) of participants (n_cohorts, ..., 2, K, m); `x`
    (n_cohorts, 2, n, p)."""
    n, more = len(x), places.ndim - 1
    cohort = np.arange(n).reshape(n, *[1] * more)
    return x[cohort, np.arange(2).reshape(*[1] * (more - 2), 2, 1, 1), places]


def weights_without(x: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Difference of the class means over all folds but each one (..., K, p), and `others`."""
    sums = x.sum(-2)  # (..., 2, K, p)
    rest = sums.sum(-2, keepdims=True) - sums
    for other in others:
        rest = rest - other
    return rest[..., 1, :, :] - rest[..., 0, :, :]


def wins(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Whether each patient of a fold scores above each control (..., K, m, m)."""
    score = np.einsum("...ckmp,...kp->...ckm", x, w)
    return score[..., 1, :, :, None] > score[..., 0, :, None, :]


def delong(won: np.ndarray) -> np.ndarray:
    """Variance of the AUC of each fold (..., K)."""
    m = won.shape[-1]
    return (won.mean(-1).var(-1, ddof=1) + won.mean(-2).var(-1, ddof=1)) / m


def in_halves(
    x: np.ndarray, folds: np.ndarray, n_halvings: int, rng: np.random.Generator
) -> np.ndarray:
    """AUC of both methods in both halves (2, n_cohorts, n_halvings, 2)."""
    n, n_repeats, _, _, m = folds.shape
    found = np.empty((2, n, n_halvings, 2))
    for h in range(n_halvings):
        order = rng.random((n, 2, K, m)).argsort(-1)[..., : m // 2 * 2]
        placed = np.take_along_axis(folds[:, h % n_repeats], order, -1)
        halves = np.moveaxis(placed.reshape(n, 2, K, 2, m // 2), 3, 1)
        for i, half in enumerate(np.split(take(x, halves), 2, axis=-1)):
            found[i, :, h] = wins(half, weights_without(half)).mean((-1, -2, -3))
    return found


def nested(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate and standard error of the AUC by nested cross-validation (n_cohorts,).

    Parameters
    ----------
    x : ndarray (n_cohorts, n_repeats, 2, K, m, p)
    """
    won = wins(x, weights_without(x))  # (n_cohorts, n_repeats, K, m, m)
    out, variance = won.mean((-1, -2)), delong(won)
    sums, squared, inner = x.sum(-2), [], []
    for k in range(K):
        others = [j for j in range(K) if j != k]
        left_out = sums[..., k : k + 1, :]
        w = weights_without(x, left_out)[..., others, :]
        within = wins(x[..., others, :, :], w).mean((-1, -2, -3))
        inner.append(within)
        squared.append((within - out[..., k]) ** 2)
    mse = np.mean(squared, axis=(0, 2)) - variance.mean((1, 2))
    plain, estimate = out.mean((1, 2)), np.mean(inner, axis=(0, 2))
    naive = np.sqrt(variance.mean((1, 2)) / K)
    error = np.sqrt((K - 1) / K * np.maximum(mse, 0))
    bias = (1 + (K - 2) / K) * (estimate - plain)
    return estimate - bias, np.clip(error, naive, np.sqrt(K) * naive)


def predictions(x: np.ndarray, w: np.ndarray, folds: np.ndarray) -> Predictions:
    """Predictions of one method in one cohort, as the stage stores them."""
    n_repeats, _, _, m = folds.shape
    n = K * m
    score, fold = np.empty((n_repeats, 2 * n)), np.empty((n_repeats, 2 * n), int)
    found = np.einsum("rckmp,rkp->rckm", x, w)
    for r in range(n_repeats):
        for c in (0, 1):
            score[r, c * n + folds[r, c].ravel()] = found[r, c].ravel()
            fold[r, c * n + folds[r, c].ravel()] = np.repeat(np.arange(K), m)
    y = np.repeat([0, 1], n)
    return Predictions(y, np.arange(2 * n), score, (score > 0).astype(float), fold)


def simulate(
    n_cohorts: int,
    n_bootstrapped: int,
    m: int,
    distance: float,
    p: int = 4,
    n_repeats: int = 5,
    n_halvings: int = 25,
    n_nested: int = 20,
    seed: int = 0,
    chunk: int = 100,
) -> pd.DataFrame:
    """Whether intervals contain the truth, one row per cohort; NaN if one was not computed."""
    shift = np.full(p, distance / np.sqrt(p))
    rows, truths = [], []
    for start in range(0, n_cohorts, chunk):
        rng = np.random.default_rng([seed, start])
        n = min(chunk, n_cohorts - start)
        x = rng.standard_normal((n, 2, K * m, 2 * p))
        x[:, 1] += np.tile(shift, 2)
        folds = arrange(rng, n, n_repeats, m)
        methods = np.split(take(x, folds), 2, axis=-1)
        weights = [weights_without(one) for one in methods]
        won = [wins(one, w).mean((-1, -2)) for one, w in zip(methods, weights, strict=True)]
        w = weights[0]
        reached = stats.norm.cdf(w @ shift / (np.sqrt(2) * np.linalg.norm(w, axis=-1)))
        truths.append(reached.mean((1, 2)))
        halves = in_halves(x, folds, n_halvings, rng)
        more = [np.split(take(x, arrange(rng, n, n_nested, m)), 2, axis=-1)[0]] if n_nested else []
        of_nested = [nested(one) for one in more]
        for i in range(n):
            row = {"model": truths[-1][i]}
            auc, both = won[0][i].mean(), (won[0][i].mean() - won[1][i].mean())
            spreads = [Spread("halves", {"auc": halves[k, i]}) for k in (0, 1)]
            row["halves"] = spreads[0].interval(auc, "auc")
            row["difference, halves"] = spreads[0].minus(spreads[1]).interval(both, "auc")
            row["corrected"] = corrected_interval(won[0][i].ravel(), 1 / (K - 1))[:2]
            for estimate, error in of_nested:
                row["nested"] = (estimate[i] - 1.96 * error[i], estimate[i] + 1.96 * error[i])
            if start + i < n_bootstrapped:
                pair = [predictions(methods[k][i], weights[k][i], folds[i]) for k in (0, 1)]
                row |= _bootstrapped(pair, auc, both, i)
            rows.append(row)
    return _covered(pd.DataFrame(rows), float(np.concatenate(truths).mean()))


def _bootstrapped(
    pair: list[Predictions], auc: float, both: float, seed: int
) -> dict[str, tuple[float, float]]:
    """Intervals from the bootstrap over tested participants, as before and doubled."""
    draws = [bootstrap(p, 300, seed)["auc"] for p in pair]
    singles = [
        np.stack([bootstrap(p.of_repeat(r), 300, seed)["auc"] for r in range(len(p.score))])
        for p in pair
    ]
    doubled = [Spread("doubled", {"auc": s}) for s in singles]
    low, high = np.quantile(draws[0], LEVELS)
    least, most = np.quantile(draws[0] - draws[1], LEVELS)
    return {
        "bootstrap": (low, high),
        "difference, bootstrap": (least, most),
        "doubled": doubled[0].interval(auc, "auc"),
        "difference, doubled": doubled[0].minus(doubled[1]).interval(both, "auc"),
    }


def _covered(rows: pd.DataFrame, truth: float) -> pd.DataFrame:
    found = {}
    for name in rows.columns.drop("model"):
        known = rows[name].dropna()
        low, high = np.array(known.to_list()).T
        target = 0.0 if name.startswith("difference") else truth
        found[name] = pd.Series((low <= target) & (target <= high), known.index)
        found[f"width of {name}"] = pd.Series(high - low, known.index)
    return pd.DataFrame(found).astype(float)


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=2000)
    parser.add_argument("--bootstrapped", type=int, default=300)
    parser.add_argument("--features", type=int, default=4, help="of each method")
    parser.add_argument(
        "--per-class", type=int, nargs="+", default=[30, 100], help="multiples of 5"
    )
    parser.add_argument("--distances", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0])
    parser.add_argument("--halvings", type=int, default=25)
    parser.add_argument("--nested", type=int, default=20, help="repeats; 0: not computed")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    table = []
    for n_per_class in args.per_class:
        for distance in args.distances:
            found = simulate(
                args.cohorts, args.bootstrapped, n_per_class // K, distance, args.features,
                n_halvings=args.halvings, n_nested=args.nested,
            )  # fmt: skip
            row = {"per class": n_per_class, "distance": distance}
            for name in found:
                value, n = found[name].mean(), found[name].notna().sum()
                row[name] = value
                if not name.startswith("width"):
                    row[f"{name} se"] = np.sqrt(value * (1 - value) / n)
            table.append(row)
            print({k: round(float(v), 3) for k, v in row.items()}, flush=True)
    if args.out:
        pd.DataFrame(table).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
