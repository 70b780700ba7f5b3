"""Run a positive or negative control over cohorts of several sizes, and write what it found."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from brainmass_core.drawing import new_figure, png_of, styled
from brainmass_core.positive_control.cohort import Population, population, simulate
from brainmass_core.positive_control.comparison import READOUTS, passes, scores, summary
from brainmass_core.positive_control.study import pretrained, recipe_for, write_study
from brainmass_core.tables import atomic_path

log = logging.getLogger(__name__)
N_TRAITS = 2
HIDDEN = ("fc_low", "fc_high", "untrained_low", "untrained_high")  # columns not printed
LABELS = {
    "fc": "FC",
    "untrained": "untrained encoder",
    "untrained_projection": "its projection",
    "pretrained": "pre-trained encoder",
    "pretrained_projection": "its projection, pre-trained",
}
TABLE, FIGURE = "positive_control.tsv", "positive_control.png"


@dataclass(frozen=True)
class Setting:
    """What is simulated and how it is scored.

    Attributes
    ----------
    sizes : tuple of int
        Numbers of unlabelled scans for pre-training, each a study of its own.
    k : int
        Labelled people per class of a draw.
    """

    sizes: tuple[int, ...] = (100, 1000, 10_000)
    n_rois: int = 24
    n_timepoints: int = 100
    k: int = 10
    n_draws: int = 20
    seed: int = 42
    informative: bool = True


def run(folder: Path, setting: Setting, sections: dict[str, Any] | None = None) -> pd.DataFrame:
    """Pre-train on each number of unlabelled scans, and score few labelled people.

    Parameters
    ----------
    folder : Path
        For the studies, the table and the figure; created.
    sections : dict, optional
        ``pfc``, ``pretrain`` and ``resources`` of a configuration. Default: `study.recipe_for`.

    Returns
    -------
    DataFrame
        `comparison.summary` of each size, with n_unlabelled.
    """
    people = population(setting.n_rois, N_TRAITS, setting.seed)
    tables = []
    for n in setting.sizes:
        log.info("pre-training on %d unlabelled scans", n)
        found = _of_size(folder / str(n), people, n, setting, sections or recipe_for(n))
        tables.append(found.assign(n_unlabelled=n))
        table = pd.concat(tables, ignore_index=True)
        with atomic_path(folder / TABLE) as file:
            table.to_csv(file, sep="\t", index=False, float_format="%.4f", na_rep="n/a")
    return table


def _of_size(
    folder: Path, people: Population, n: int, setting: Setting, sections: dict[str, Any]
) -> pd.DataFrame:
    series = simulate(people, n, setting.n_timepoints, setting.seed, setting.informative).series
    config = write_study(folder, series, sections, setting.seed)
    trained, untrained = pretrained(config, folder / "config.yaml")
    scored = scores(
        people,
        trained,
        untrained,
        ["", *(r for r in READOUTS if r in {x.name for x in config.pretrain.encoder.readouts})],
        k=setting.k,
        n_draws=setting.n_draws,
        n_timepoints=setting.n_timepoints,
        seed=setting.seed,
        informative=setting.informative,
    )
    return summary(scored)


def verdict(table: pd.DataFrame, informative: bool) -> tuple[bool, str]:
    """Whether the control, at its largest size, found what the truth is; and a sentence on it."""
    n = table["n_unlabelled"].max()
    last = table[table["n_unlabelled"] == n]
    learned = passes(last)
    row = last.set_index("features").loc["pretrained"]
    named = (("fc", "to FC"), ("untrained", "to the untrained encoder"))
    found = {r: [row[f"minus_{r}{end}"] for end in ("", "_low", "_high")] for r, _ in named}
    differences = " and ".join(
        "{:+.3f} [{:+.3f}, {:+.3f}] ".format(*found[r]) + words for r, words in named
    )
    right = learned == informative
    kind = "positive" if informative else "negative"
    said = f"{kind} control {'passed' if right else 'FAILED'} with {n} unlabelled scans: AUC "
    return right, f"{said}{row['auc']:.3f}, difference {differences}"


def figure(table: pd.DataFrame, k: int) -> Figure:
    """AUC over the number of unlabelled scans, one line per features.

    Parameters
    ----------
    table : DataFrame
        Result of `run`.
    k : int
        Labelled people per class.
    """
    drawn = new_figure(7, 4)
    axes = drawn.add_subplot()
    for name, of in table.groupby("features", sort=False):
        errors = (of["auc"] - of["auc_low"], of["auc_high"] - of["auc"])
        label = LABELS.get(str(name), str(name))
        axes.errorbar(of["n_unlabelled"], of["auc"], errors, marker="o", capsize=3, label=label)
    sizes = sorted(set(table["n_unlabelled"]))
    axes.set(xscale="log", xlabel="unlabelled scans", ylabel=f"AUC, {k} labelled per class")
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes])  # the style draws no powers of ten
    axes.minorticks_off()
    axes.axhline(0.5, color="grey", linewidth=0.8)
    drawn.legend(loc="outside right upper")
    return drawn


def reported(
    folder: Path, table: pd.DataFrame, setting: Setting, echo: Callable[[str], None]
) -> bool:
    """Print the table and the verdict, and write the figure; returns whether it passed."""
    numbers = table.drop(columns=[name for name in map(str, table) if name.endswith(HIDDEN)])
    echo(numbers.to_string(index=False, float_format=lambda v: f"{v:.3f}", na_rep=""))
    with styled():
        png = png_of(figure(table, setting.k))
    with atomic_path(folder / FIGURE) as file:
        file.write_bytes(png)
    right, sentence = verdict(table, setting.informative)
    echo(f"{sentence}\n{folder / TABLE}\n{folder / FIGURE}")
    return right
