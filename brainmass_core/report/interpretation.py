"""Important regions on a task's page: figures, tables and warnings from `results/interpret`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from brainmass_core.config import Config
from brainmass_core.pipeline.paths import MAPS, Paths
from brainmass_core.report.cells import Cell, number, p_value, score
from brainmass_core.report.page import Picture
from brainmass_core.tables import read_table

METHODS = {
    "attention": "Attention received (difference of the classes)",
    "gradient": "Encoder, integrated gradients",
    "permutation": "Encoder, permutation",
    "fc_pattern": "FC, pattern of the linear SVM",
}
TITLES = {
    "attention": "Attention maps",
    "regions": "Most important regions",
    "glass_brain": "Their positions",
    "surface": "All regions on the surface",
}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Interpretation:
    """Important regions of a task as shown on the page.

    Attributes
    ----------
    stability, regions, networks : list of dict
        Rows of the tables, by column heading.
    warnings : list of str
        Reasons why the regions of a method are not reliable.
    """

    pictures: list[Picture]
    stability: Rows
    regions: Rows
    networks: Rows
    warnings: list[str]


def read_interpretation(config: Config, task: str) -> Interpretation | None:
    """Read `results/interpret/<task>`; None if the stage has not been run.

    Raises
    ------
    TableError
        If a table is damaged or of another version.
    """
    paths = Paths(config.results)
    if not paths.interpret(task, "regions.parquet").exists():
        return None
    read = {
        name: read_table(paths.interpret(task, f"{name}.parquet"), name).to_pandas()
        for name in ("stability", "regions", "networks", "maps")
    }
    stability = read["stability"]
    warned = stability[stability["reason"] != ""]
    single = set(stability.loc[stability["n_folds"] < 2, "method"])
    top_k = int(stability["top_k"].max()) if len(stability) else 0
    return Interpretation(
        [_picture(paths, task, row) for row in read["maps"].to_dict("records")],
        [_stability(row) for row in stability.to_dict("records")],
        [
            _region(row, row["method"] in single)
            for row in read["regions"].to_dict("records")
            if row["rank"] <= top_k
        ],
        [_network(row) for row in read["networks"].to_dict("records")],
        [
            f"{METHODS[m]}: {'stability is not known' if m in single else 'not stable'}: {r}."
            for m, r in warned[["method", "reason"]].to_numpy()
        ],
    )


def _picture(paths: Paths, task: str, row: dict[Any, Any]) -> Picture:
    name = row["name"]
    assert name in MAPS
    png = paths.interpret(task, f"{name}.png").read_bytes()
    wide = name != "glass_brain"
    return Picture(f"interpret_{name}", TITLES[name], row["caption"], png, row["missing"], wide)


def _stability(row: dict[Any, Any]) -> dict[str, Any]:
    return {
        "Method": METHODS[row["method"]],
        "Stable": _stable(row, row["n_folds"] < 2),
        "Folds": row["n_folds"],
        "Scans explained": row["n_scans"],
        f"Agreement of the first {row['top_k']} (Kuncheva)": score(row, "kuncheva"),
        "Jaccard": score(row, "jaccard"),
        "Rank correlation between folds": score(row, "spearman"),
        "AUC of the explained model": score(row, "auc"),
        "Agreement with the scored model": number(row["agreement_with_scored"]),
        "Agreement with the permutation": number(row["rank_correlation_with_permutation"]),
    }


def _stable(row: dict[Any, Any], single_fold: bool) -> str:
    return "not known" if single_fold else "yes" if row["stable"] else "no"


def _region(row: dict[Any, Any], single_fold: bool) -> dict[str, Any]:
    return {
        "Method": METHODS[row["method"]],
        "Rank": row["rank"],
        "Region": row["name"],
        "Network": row["network"],
        "Importance": score(row, "importance", 3),
        "Among the first in": Cell(f"{row['frequency']:.0%}", "", float(row["frequency"])),
        "p, corrected": p_value(row["p_corrected"]),
        "Stable": _stable(row, single_fold),
    }


def _network(row: dict[Any, Any]) -> dict[str, Any]:
    return {
        "Method": METHODS[row["method"]],
        "Network": row["network"],
        "Regions": row["n_rois"],
        "of them among the first": row["n_top"],
        "Mean importance": number(row["importance"], 3),
        "p of shuffled labels, corrected": p_value(row["p_corrected"]),
    }
