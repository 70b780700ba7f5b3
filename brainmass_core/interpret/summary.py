"""Summarise folds as tables: regions with intervals and warnings, networks, stability."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from brainmass_core.config.sections import Interpret
from brainmass_core.finetune.cohort.dataset import TaskData
from brainmass_core.interpret.explain import MethodFolds, scored_as
from brainmass_core.interpret.networks import networks_of
from brainmass_core.interpret.stability import (
    holm,
    jaccard,
    kuncheva,
    mean_interval,
    network_test,
    p_values,
    rank_correlation,
    ranks_of,
    spearman,
    top_of,
)
from brainmass_core.intervals import fixed, side_of, with_interval

MIN_AGREEMENT = 0.4  # of Kuncheva's index: below it agreement counts as poor (Nogueira et al. 2018)
MIN_FREQUENCY = 0.75
MIN_PER_CLASS = 10  # tested participants
Row = dict[str, Any]


def stability_rows(
    found: dict[str, MethodFolds], data: TaskData, settings: Interpret, predictions: pd.DataFrame
) -> list[Row]:
    """One row per method: agreement of its folds, score of the explained model, and warnings.

    Parameters
    ----------
    predictions : DataFrame
        `tables.PREDICTIONS` of the task.
    """
    rows = []
    for method, folds in found.items():
        ranking = folds.ranking()
        k = top_size(settings, ranking.shape[1])
        sizes = float(np.mean(folds.n_train)), float(np.mean(folds.n_test))
        tested = data.scans.iloc[sorted(folds.rows)]
        auc = mean_interval(np.array(folds.auc), sizes[0], _mean_tested(folds))
        row: Row = {
            "method": method,
            "n_folds": len(ranking),
            "n_scans": len(tested),
            "n_participants": tested["participant"].nunique(),
            "top_k": k,
            **_spread("kuncheva", kuncheva(top_of(ranking, k))),
            **_spread("jaccard", jaccard(top_of(ranking, k))),
            **_spread("spearman", spearman(ranking)),
            **_spread("auc", tuple(float(v) for v in auc)),
            "agreement_with_scored": _agreement(method, folds, data, predictions),
            "completeness_error": float(np.mean(folds.error)),
        }
        if method != "permutation" and "permutation" in found:
            other = found["permutation"].ranking().mean(0)
            mine = overall(folds)
            row["rank_correlation_with_permutation"] = rank_correlation(mine, other)
        row["reason"] = _warnings(row, tested)
        row["stable"] = not row["reason"]
        rows.append({key: _known(value) for key, value in row.items()})
    return rows


def top_size(settings: Interpret, n_rois: int) -> int:
    """Number of regions counted as most important, fewer than all."""
    return min(settings.top_k, n_rois - 1)


def overall(folds: MethodFolds) -> np.ndarray:
    """Value by which regions (n_rois,) are ranked over all folds.

    Returns
    -------
    ndarray (n_rois,)
        Mean over folds, absolute if the importance is signed.
    """
    mean = np.stack(folds.importance).mean(0)
    return np.abs(mean) if folds.signed else mean


def _mean_tested(folds: MethodFolds) -> float:
    return float(np.mean([len(s) for s in folds.scores]))


def _spread(name: str, interval: tuple[float, ...]) -> Row:
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))


def _known(value: Any) -> Any:
    """NaN as missing."""
    return None if isinstance(value, float) and np.isnan(value) else value


def _warnings(row: Row, tested: pd.DataFrame) -> str:
    """Reasons why the regions of a method are not reliable; empty without any."""
    said = []
    people = tested.drop_duplicates("participant")["y"].value_counts()
    fewest = int(people.reindex([0, 1], fill_value=0).min())
    if fewest < MIN_PER_CLASS:
        said.append(f"{fewest} participants explained in a class, fewer than {MIN_PER_CLASS}")
    if row["n_folds"] < 2:
        said.append(
            f"one fold: no interval and no second fold to compare, so neither whether the model "
            f"behind it scores above chance (AUC {fixed(row['auc'])}) nor whether its top "
            f"{row['top_k']} would be found again is known"
        )
        return "; ".join(said)
    if (side := side_of(row["auc_low"], row["auc_high"], 0.5)) != "above":
        auc = with_interval(row["auc"], row["auc_low"], row["auc_high"])
        said.append(
            f"whether the model behind it scores above chance is not known: AUC {auc}"
            if side == "unknown"
            else f"the model behind it scores no better than chance: AUC {auc}"
        )
    if not row["kuncheva_low"] >= MIN_AGREEMENT:
        found = with_interval(row["kuncheva"], row["kuncheva_low"], row["kuncheva_high"])
        said.append(
            f"the top {row['top_k']} of two folds agree by {found}, expected above "
            f"{MIN_AGREEMENT} (0 by chance, 1 the same)"
        )
    return "; ".join(said)


def _agreement(method: str, folds: MethodFolds, data: TaskData, predictions: pd.DataFrame) -> float:
    """Mean rank correlation, within folds, of the explained score with the evaluated one."""
    scored = predictions[predictions["method"].isin(scored_as(method))]
    if scored.empty:
        return float("nan")
    mine = pd.concat(folds.scores)
    mine["scan_id"] = data.scans["scan_id"].to_numpy()[mine["row"]]
    both = mine.merge(scored, on=["repeat", "fold", "scan_id"])
    each = [
        rank_correlation(g["score"].to_numpy(), g["y_score"].to_numpy())
        for _, g in both.groupby(["repeat", "fold"])
        if len(g) > 2
    ]
    return float(np.mean(each)) if each else float("nan")


def region_rows(
    found: dict[str, MethodFolds], labels: pd.DataFrame, stability: list[Row], settings: Interpret
) -> list[Row]:
    """One row per method and region.

    Parameters
    ----------
    labels : DataFrame (n_rois rows)
        name, network, x, y, z.
    stability : list of dict
        Result of `stability_rows`.
    """
    networks, _ = networks_of(labels)
    verdicts = {row["method"]: row["reason"] for row in stability}
    rows = []
    for method, folds in found.items():
        values, evidence = np.stack(folds.importance), np.stack(folds.evidence)
        sizes = float(np.mean(folds.n_train)), float(np.mean(folds.n_test))
        mean, low, high = mean_interval(values, *sizes)
        p = p_values(evidence, *sizes, two_sided=folds.signed)
        ranks = ranks_of(overall(folds))
        frequency = top_of(folds.ranking(), top_size(settings, len(mean))).mean(0)
        # the evidence for a region cannot be stronger than for the model that it explains
        above = np.array(folds.auc)[:, None] - 0.5
        model_p = p_values(above, sizes[0], _mean_tested(folds), two_sided=False)
        table = pd.DataFrame(
            {
                "method": method,
                "roi": np.arange(1, len(mean) + 1),
                "name": labels["name"].astype(str),
                "network": networks,
                "importance": mean,
                "importance_low": low,
                "importance_high": high,
                "evidence": evidence.mean(0),
                "p": p,
                "p_corrected": np.maximum(holm(p), model_p),
                "rank": ranks,
                "frequency": frequency,
                "reason": [_region_reason(verdicts[method], f) for f in frequency],
            }
        )
        table["stable"] = table["reason"] == ""
        for row in table.sort_values("rank").to_dict("records"):
            rows.append({str(key): _known(value) for key, value in row.items()})
    return rows


def _region_reason(of_method: str, frequency: float) -> str:
    if of_method:
        return of_method
    if frequency < MIN_FREQUENCY:
        return f"among the most important in {frequency:.0%} of the folds"
    return ""


def network_rows(
    found: dict[str, MethodFolds], labels: pd.DataFrame, settings: Interpret, seed: int
) -> list[Row]:
    """One row per method and network; empty if no networks are known.

    Parameters
    ----------
    labels : DataFrame (n_rois rows)
        Labels of the atlas.
    seed : int
        Of the random numbers of the null distribution.

    Returns
    -------
    list of dict
        Rows of `tables.NETWORKS`: p is corrected with `holm` over the networks of a method.
    """
    networks, source = networks_of(labels)
    if not source:
        return []
    rows = []
    for method, folds in found.items():
        value = overall(folds)
        chosen = ranks_of(value) <= top_size(settings, len(value))
        tested = network_test(value, networks, settings.n_null, np.random.default_rng(seed))
        corrected = holm(np.array([p for _, p in tested.values()]))
        for (name, (mean, p)), q in zip(tested.items(), corrected, strict=True):
            mine = networks == name
            row = {"network": name, "source": source, "n_rois": int(mine.sum()), "importance": mean}
            more = {"n_top": int((mine & chosen).sum()), "p": p, "p_corrected": float(q)}
            rows.append({"method": method, **row, **more})
    return rows
