"""Fit a task's model to all labelled scans and store it, after the evaluation."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file
from threadpoolctl import threadpool_limits

from brainmass_core.atlas import resolve_atlas
from brainmass_core.checksums import sha256_of
from brainmass_core.config import Config, Task
from brainmass_core.encoders.interface import implementation_of
from brainmass_core.encoders.registry import FEATURES, METHODS, owner_of, scaled_series
from brainmass_core.finetune.cohort.dataset import UNKNOWN, TaskData
from brainmass_core.finetune.cohort.labels import TaskError
from brainmass_core.finetune.confounds import confounds_of
from brainmass_core.finetune.evaluation import Evaluation
from brainmass_core.finetune.methods.fitting import Fitted, fit_method
from brainmass_core.finetune.methods.series_features import fitting_feed
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.predict.card import card
from brainmass_core.predict.contract import (
    FILE,
    Contract,
    Parcels,
    Processing,
    needed_columns,
    processing_of,
    write_contract,
)
from brainmass_core.predict.input_transform import Series
from brainmass_core.predict.model import (
    CARD,
    ESTIMATOR,
    WEIGHTS,
    Model,
    library_versions,
    probe,
    weights_of,
)
from brainmass_core.predict.serialization import encode, storable
from brainmass_core.tables import atomic_path, read_table

log = logging.getLogger(__name__)
SCORES = {
    "classification": ["auc", "balanced_accuracy", "sensitivity", "specificity", "f1", "brier"],
    "regression": ["r2", "mse", "mae", "pearson_r", "target_variance"],
}


def deploy(config: Config, task: str) -> None:
    """Write the folder of a task's model.

    Raises
    ------
    TaskError
        If the configuration stores no model, or the task has no scores yet.
    """
    name = config.finetune.deployed(config.tasks[task].kind)
    if name is None:
        raise TaskError(_nothing_to_store(config, task))
    scores = _scores(config, task)
    model, found = fit_all(Evaluation.load(config, task), name, scores)
    folder = Paths(config.results).deployed(task)
    write_model(folder, model)
    log.info("%s: %s fitted to %d scans is stored in %s", task, name, len(found.rows), folder)
    _say_if_another_is_better(config, task, name, scores)


def _nothing_to_store(config: Config, task: str) -> str:
    settings, kind = config.finetune, config.tasks[task].kind
    if settings.permute_labels:
        why, remedy = "finetune.permute_labels is set", "set it to false"
    else:
        # methods on FC, which every study has
        of_fc = [m for m in METHODS.values() if m.given == "fc" and not m.stores_scans]
        able = [m.name for m in of_fc if kind in m.kinds]
        why = f"finetune.deploy is {settings.deploy!r} and methods are {list(settings.methods)}"
        names = ", ".join(able)
        remedy = f"set finetune.deploy to auto, and add one of {names} to finetune.methods"
    return f"task {task}: there is no model to store: {why}; {remedy}"


def fit_all(e: Evaluation, name: str, scores: dict[str, dict[str, Any]]) -> tuple[Model, Fitted]:
    """Fit a method to all labelled scans.

    Returns
    -------
    Model
        The model as it will be stored; `contract.files` is still empty.
    Fitted
        The complete fitted method, with the training scans of a linear SVM and all searches.
    """
    method, rows = METHODS[name], np.arange(len(e.data.scans))
    with threadpool_limits(limits=1):
        found = fit_method(name, e.features[method.given], e.design, rows, e.seed % 2**31)
    fitted = replace(
        found,
        model=storable(found.model),
        before=None if found.before is None else storable(found.before),
        adjust=storable(found.adjust),
    )
    encoder = _encoder(e.config, method.given, e.data.n_rois)
    contract = _contract(e.config, e.task, name, e.data, found, scores, encoder)
    model = Model(contract, fitted, encoder)
    contract = contract.model_copy(update={"probe": probe(model)})
    return replace(model, contract=contract), found


def write_model(folder: Path, model: Model) -> None:
    """Write the four files, the contract last: without it the folder is not a model."""
    arrays: dict[str, np.ndarray] = {}
    parts = {key: getattr(model.fitted, key) for key in ("model", "before", "adjust")}
    node = {key: encode(value, arrays, key) for key, value in parts.items()}
    if model.encoder is not None:
        arrays |= weights_of(model.contract.features, model.encoder)
    (folder / FILE).unlink(missing_ok=True)
    with atomic_path(folder / WEIGHTS) as path:
        save_file(arrays, path, metadata={"format": "np"})
    _write_text(folder / ESTIMATOR, json.dumps(node, indent=1, sort_keys=True) + "\n")
    files = {name: sha256_of(folder / name) for name in (ESTIMATOR, WEIGHTS)}
    contract = model.contract.model_copy(update={"files": files})
    _write_text(folder / CARD, card(contract, node))
    write_contract(folder, contract)


def _write_text(place: Path, text: str) -> None:
    with atomic_path(place) as path:
        path.write_text(text, encoding="utf-8")


def _encoder(config: Config, features: str, n_rois: int) -> Pretrained | None:
    """The frozen encoder of the features; None if they are not an embedding."""
    owner = owner_of(features)
    if owner is None:
        return None
    does = implementation_of(owner)
    if FEATURES[features].pretrained:
        return does.pretrained(config)
    return does.untrained(config, n_rois)


def _described(features: str, encoder: Pretrained | None) -> dict[str, Any] | None:
    """Architecture of an encoder for the contract."""
    owner = owner_of(features)
    if owner is None or encoder is None:
        return None
    return implementation_of(owner).architecture.of(encoder).model_dump(mode="json")


def _contract(
    config: Config,
    task: str,
    name: str,
    data: TaskData,
    fitted: Fitted,
    scores: dict[str, dict[str, Any]],
    encoder: Pretrained | None,
) -> Contract:
    settings, scans = config.tasks[task], data.scans.iloc[fitted.rows]
    features = METHODS[name].given
    of_series, architecture = scaled_series(features), _described(features, encoder)
    series = scans["joined"].explode() if "joined" in scans else scans["scan_id"]
    done, t_r = _what_was_done(config, task, set(series))
    processing: dict[str, list[dict[str, Any]]] = {}
    for dataset in settings.datasets:
        variants = processing.setdefault(config.datasets[dataset].kind, [])
        if (variant := processing_of(config, dataset)) not in variants:
            variants.append(variant)
    return Contract(
        task=task,
        kind=settings.kind,
        label=settings.label,
        classes=list(settings.classes),
        transform=settings.transform,
        method=name,
        features=features,
        encoder=None if of_series else architecture,
        series=Series.of(fitting_feed(config, data), architecture) if of_series else None,
        atlas=Parcels.of(resolve_atlas(config), config.atlas.name),
        connectivity=config.connectivity.model_copy(update={"estimator": data.estimator}),
        timeseries=config.timeseries,
        preprocess=config.preprocess,
        processing=processing,
        done=done,
        t_r=t_r,
        confounds=settings.confounds,
        confound_columns=needed_columns(settings),
        sites=_names_of(scans, settings, "site"),
        sexes=_names_of(scans, settings, "sex"),
        missing_values=list(
            dict.fromkeys(v for d in settings.datasets for v in config.datasets[d].missing_values)
        ),
        n_participants=scans["participant"].nunique(),
        n_scans=len(scans),
        n_per_class={c: int((scans["class_name"] == c).sum()) for c in settings.classes},
        protocol=settings.protocol.kind,
        scores=scores,
        probe=[],
        config_hash=stage_hash(config, "model", task),
        versions=library_versions(),
        files={},
    )


def _names_of(scans: pd.DataFrame, settings: Task, column: str) -> list[str]:
    """Sites or sexes of the training scans, where the model needs those of new ones."""
    if column not in needed_columns(settings):
        return []
    return sorted(set(confounds_of(scans)[column]) - {UNKNOWN})


def _what_was_done(
    config: Config, task: str, ids: set[str]
) -> tuple[list[Processing], tuple[float, float] | None]:
    """Processing of the scans according to the time-series tables, and the range of t_r."""
    columns = ["scan_id", "t_r", *Processing.model_fields]
    parts = [
        read_table(Paths(config.results).batch("timeseries", dataset, batch), "timeseries", columns)
        for dataset in config.tasks[task].datasets
        for batch in range(config.datasets[dataset].batches)
    ]
    table = pd.concat([part.to_pandas() for part in parts])
    table = table[table["scan_id"].isin(ids)]
    texts = table[list(Processing.model_fields)].astype(object)
    texts = texts.where(texts.notna(), None).drop_duplicates()
    done = sorted((Processing(**row) for row in texts.to_dict("records")), key=repr)
    t_r = table["t_r"].dropna()
    return done, (float(t_r.min()), float(t_r.max())) if len(t_r) else None


def _scores(config: Config, task: str) -> dict[str, dict[str, Any]]:
    """Cross-validated scores by method, with the intervals of the leading one."""
    table = read_table(Paths(config.results).finetune(task) / "metrics.parquet", "metrics")
    found = {}
    for row in table.to_pylist():
        lead = row["leading"]
        wanted = [*SCORES[config.tasks[task].kind], f"{lead}_low", f"{lead}_high"]
        found[row["method"]] = {key: row[key] for key in wanted}
    return found


def _say_if_another_is_better(
    config: Config, task: str, name: str, scores: dict[str, dict[str, Any]]
) -> None:
    lead = SCORES[config.tasks[task].kind][0]
    known = {m: s[lead] for m, s in scores.items() if s.get(lead) is not None}
    best = max(known, key=lambda m: known[m], default=name)
    if name in known and known[best] > known[name]:
        log.warning(
            "%s: %s is stored (%s %.3f), but %s scored %.3f; %s, and note that the score of the "
            "best of several methods is biased upwards",
            *(task, name, lead, known[name], best, known[best]),
            "choose by finetune.deploy" if METHODS[best].deployable else "it cannot be stored",
        )
