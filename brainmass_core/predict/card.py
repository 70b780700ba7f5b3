"""The card of a deployed model: description, scores, limits of use."""

from __future__ import annotations

import json
from typing import Any

from brainmass_core.encoders.registry import owner_of
from brainmass_core.predict.contract import Contract

TEXT = """\
# {task}: {method}

Predicts {target} of a resting-state scan from {source}.
`brainmass predict THIS_FOLDER INPUT` applies it; input that was processed differently from its
training scans is refused.

## Training

Fitted to **all** labelled scans of the task:
{n_scans} scans of {n_participants} participants{classes}.
{confounds}

## Scores

These are cross-validated (`{protocol}`), with models fitted to parts of the same scans. The stored
model was fitted again, to all of them, so **it has no scores of its own**: no participants remain
to test it. Predictions for another scanner, population or protocol may be worse.

{scores}

{better}

## Input

| | |
|---|---|
| atlas | {atlas}, {n_rois} parcels, sha256 {atlas_hash} |
| {seen} |
| series | {done} |
| kinds of data | {kinds} |
| t_r | {t_r} |

`contract.json` contains all settings.

## Limits

- Research only: not a medical device, not for decisions about a person.
- Group differences are small and confounded by site, motion, age and sex; compare with the
  scores of `confounds_*` on the same folds before you trust a score.
- Probabilities are for the class frequencies of the training scans, or for equal ones, not for
  those of a clinic.
- Do not evaluate the model on participants of the training scans.
{memory}

## Licence

The software is Apache-2.0. Models fitted to data are subject to the terms under which the
data were shared; whoever distributes this folder has to state them.

Configuration {config_hash}; {versions}.
"""
MEMORY = {
    "scans": "- **This folder contains features of training scans** (support vectors or "
    "neighbours), "
    "without names:\n  treat it as participants' data.",
    "weights": "- The folder contains weights and averages, but no single scan.",
}
SOURCES = {
    "fc": "its functional connectivity (FC)",
    "series": "the first window of its time series",
}
HANDLED = {
    "none": "Confounds were not adjusted for.",
    "match": "Participants were dropped until classes were equally large for each site and sex.",
    "regress": "{columns} were regressed out of every feature; new scans need them.\n"
    "The folder contains the names of the training sites if site is one of them.",
    "combat": "Site effects were removed by ComBat; a new scan's site must be given, and a site "
    "without\n"
    "training scans is not adjusted. The folder contains the names of the training sites.",
}


def card(contract: Contract, node: dict[str, Any]) -> str:
    """The card as Markdown.

    Parameters
    ----------
    node : dict
        The stored estimator.
    """
    c = contract
    target = f"the class ({' or '.join(c.classes)})" if c.classes else f"the number `{c.label}`"
    counts = ", ".join(f"{name} {n} scans" for name, n in c.n_per_class.items())
    done = "; ".join(
        ", ".join(f"{k} {v}" for k, v in d.model_dump().items() if v is not None) or "not recorded"
        for d in c.done
    )
    return TEXT.format(
        task=c.task,
        method=c.method,
        target=target,
        source=_source(c),
        seen=_seen(c),
        n_scans=c.n_scans,
        n_participants=c.n_participants,
        classes=f" ({counts})" if counts else "",
        confounds=HANDLED.get(c.confounds, c.confounds).format(
            columns=", ".join(c.confound_columns)
        ),
        protocol=c.protocol,
        scores=_table(c),
        better=_better(c),
        atlas=c.atlas.name,
        n_rois=c.atlas.n_rois,
        atlas_hash=c.atlas.sha256[:16],
        done=done,
        kinds=", ".join(c.processing),
        t_r="not known" if c.t_r is None else f"{c.t_r[0]:g} to {c.t_r[1]:g} s",
        memory=MEMORY["scans" if _remembers(node) else "weights"],
        config_hash=c.config_hash,
        versions=", ".join(f"{k} {v}" for k, v in c.versions.items()),
    )


def _source(c: Contract) -> str:
    """Description of the model's input."""
    owner = owner_of(c.features)
    found = owner.pages.sources.get(c.features) if owner else None
    return found or SOURCES["series" if c.series else "fc"]


def _seen(c: Contract) -> str:
    """Row of the table about the processing of series."""
    if c.series is None:
        unit = c.connectivity.unit
        joined = "" if unit == "run" else f", runs of a {unit} and task joined"
        return f"FC | {c.connectivity.estimator}{joined}"
    s = c.series
    others = {"reject": "others are refused", "resample": "others are resampled"}[s.other_t_r]
    t_r = "t_r not known" if s.t_r is None else f"t_r {s.t_r:g} s, {others}"
    return (
        f"windows | windows of {s.window} timepoints; {t_r}; parcels scaled by statistics of "
        f"{s.scaling.n_recordings} pre-training scans"
    )


def _table(c: Contract) -> str:
    columns = list(next(iter(c.scores.values()), {}))
    lines = [["method", *columns], ["---"] * (len(columns) + 1)]
    for method, row in c.scores.items():
        name = f"**{method}**" if method == c.method else method
        values = ["" if row[k] is None else f"{row[k]:.3f}" for k in columns]
        lines.append([name, *values])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _better(c: Contract) -> str:
    lead = "auc" if c.classes else "r2"
    mine = c.scores.get(c.method, {}).get(lead)
    others = {m: s[lead] for m, s in c.scores.items() if m != c.method}
    better = [m for m, v in others.items() if v is not None and mine is not None and v > mine]
    if not better:
        return f"No other method of the configuration had a higher {lead}."
    return (
        f"{', '.join(better)} had a higher {lead}. The method was chosen before the scores were "
        "known, unless\n"
        "`finetune.deploy` names it."
    )


def _remembers(node: dict[str, Any]) -> bool:
    """Whether features of single scans are stored."""
    text = json.dumps(node)
    return any(f'"{name}"' in text for name in ("SVC", "SVR", "KNeighborsClassifier")) or (
        '"KNeighborsRegressor"' in text
    )
