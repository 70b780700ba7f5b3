"""The stage `interpret`: explain a linear probe on the frozen pre-trained encoder, fold by fold.

Every method is applied to the folds of `finetune`, and tables and figures are written. The probe is
that of `explained_model`, not the fine-tuned or the stored model of a task; ``fc_pattern`` explains
a linear model of FC.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from brainmass_core.atlas.parcels import parcels
from brainmass_core.config import Config
from brainmass_core.encoders.interface import implementation_of
from brainmass_core.finetune.cohort.dataset import TaskData
from brainmass_core.finetune.evaluation import Evaluation
from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.finetune.methods.embedding import embedding
from brainmass_core.interpret.attention import LAYERS, AttentionMaps, attention_maps
from brainmass_core.interpret.explain import (
    FcModel,
    MethodFolds,
    PretrainedModel,
    both_classes,
    chosen,
    explain_folds,
    needs_encoder,
)
from brainmass_core.interpret.figures import draw_all
from brainmass_core.interpret.series import load_recordings_model
from brainmass_core.interpret.summary import network_rows, region_rows, stability_rows
from brainmass_core.models.device import device
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import (
    MAPS,
    NETWORKS,
    REGIONS,
    STABILITY,
    atomic_path,
    attention_schema,
    from_rows,
    read_table,
    write_table,
)

log = logging.getLogger(__name__)
DIFFERENCE = "difference"


def run(config: Config, task: str) -> None:
    """Explain a task's decision and write regions, networks, stability, maps and figures.

    Raises
    ------
    TaskError
        If the label, the classes, the number of participants or the model do not allow it.
    LeakError
        If training or pre-training used a test participant.
    """
    settings = config.interpret
    e = Evaluation.load(config, task)
    data, seed = e.data, e.seed
    if config.tasks[task].kind == "regression" or not two_classes(data):
        log.warning("%s: not two classes: no region is explained", task)
        off = config.interpret.model_copy(update={"methods": []})
        config = config.model_copy(update={"interpret": off})
        _publish(config, task, data, {}, None, seed)
        return
    folds = [f for f in e.folds if f.repeat < settings.n_repeats]
    folds = both_classes(folds, data.scans["y"].to_numpy())
    encoder, attention = _encoder(config, data, folds, seed % 2**31), None
    if encoder is not None and "attention" in settings.methods:
        tested = np.unique(np.concatenate([f.test for f in folds]))
        attention = attend(encoder, data, tested, list(config.tasks[task].classes))
    found = explain_folds(data, folds, settings, encoder, attention, seed % 2**31)
    _publish(config, task, data, found, attention, seed)


def two_classes(data: TaskData) -> bool:
    """Whether the task has two classes, the only kind that is explained."""
    return set(np.unique(data.scans["y"]).tolist()) <= {0, 1}


def _encoder(
    config: Config, data: TaskData, folds: list[Fold], seed: int
) -> PretrainedModel | None:
    """The pre-trained model with its input; None if no method needs it."""
    settings = config.interpret
    if not any(map(needs_encoder, settings.methods)):
        return None
    if not config.pretrain.encoder.sees_series:
        return load_fc_model(config, data)
    rows = [chosen(data, fold, settings, seed)[0] for fold in folds]
    return load_recordings_model(config, data, np.unique(np.concatenate(rows)))


def load_fc_model(config: Config, data: TaskData) -> FcModel:
    """The pre-trained model, checked against the FC, and all embeddings."""
    encoder = config.pretrain.encoder
    embedded = embedding(encoder, config, data, trained=True)
    does = implementation_of(encoder)
    return FcModel(does.pretrained(config), embedded, does.transformer)


def attend(
    encoder: PretrainedModel, data: TaskData, tested: np.ndarray, classes: list[str]
) -> AttentionMaps:
    """Attention of the test scans; `received` has a row for every scan, NaN for others.

    Parameters
    ----------
    tested : ndarray (n_tested,) of int
        Rows of `TaskData.scans`.

    Returns
    -------
    AttentionMaps
        `received` is (n_scans, n_rois).
    """
    assert encoder.transformer is not None
    scans = data.scans.iloc[tested]
    group = np.array(classes, dtype=object)[scans["y"].to_numpy()]
    source = encoder.transformer(encoder.model.eval().to(device()))
    maps = attention_maps(source, data.fc[tested], group, scans["participant"].to_numpy())
    received = np.full((len(data.scans), data.n_rois), np.nan, np.float32)
    received[tested] = maps.received
    return AttentionMaps(maps.maps, received, maps.n_scans, maps.n_participants)


def attention_rows(attention: AttentionMaps, classes: list[str]) -> list[dict[str, Any]]:
    """Rows of the attention table: each class, and the second minus the first."""
    rows = []
    for layers in LAYERS:
        maps = {c: attention.maps[layers, c] for c in classes}
        maps[DIFFERENCE] = maps[classes[1]] - maps[classes[0]]
        for group, matrix in maps.items():
            rows.append(
                {
                    "layers": layers,
                    "group": group,
                    "n_scans": attention.n_scans.get(group, sum(attention.n_scans.values())),
                    "n_participants": attention.n_participants.get(
                        group, sum(attention.n_participants.values())
                    ),
                    "map": matrix.ravel().tolist(),
                }
            )
    return rows


def _publish(
    config: Config,
    task: str,
    data: TaskData,
    found: dict[str, MethodFolds],
    attention: AttentionMaps | None,
    seed: int,
) -> None:
    """Write figures first, then the tables, with the table of regions last."""
    paths, settings = Paths(config.results), config.interpret
    labels = parcels(config, _atlas_name(config, data), data.n_rois)
    predictions = paths.finetune(task) / "predictions.parquet"
    scored = read_table(predictions, "predictions").to_pandas()
    stability = stability_rows(found, data, settings, scored)
    rows = {
        "attention": attention_rows(attention, list(config.tasks[task].classes))
        if attention
        else [],
        "networks": network_rows(found, labels, settings, seed),
        "stability": stability,
        "regions": region_rows(found, labels, stability, settings),
    }
    pictures = draw_all(config, rows, labels, list(config.tasks[task].classes))
    for name, (png, _, _) in pictures.items():
        with atomic_path(paths.interpret(task, f"{name}.png")) as path:
            path.write_bytes(png)
    rows["maps"] = [{"name": n, "caption": c, "missing": m} for n, (_, c, m) in pictures.items()]
    schemas = {
        "attention": attention_schema(data.n_rois),
        "networks": NETWORKS,
        "stability": STABILITY,
        "maps": MAPS,
        "regions": REGIONS,
    }
    made_by = stage_hash(config, "interpret", task)
    for name, schema in schemas.items():
        table = from_rows(_of_task(rows[name], task, schema), schema)
        write_table(paths.interpret(task, f"{name}.parquet"), table, name, made_by)
    for row in stability:
        log.info("%s: %s: %s", task, row["method"], row["reason"] or "stable")


def _of_task(rows: list[dict[str, Any]], task: str, schema: pa.Schema) -> list[dict[str, Any]]:
    return [{"task": task, **row} if "task" in schema.names else row for row in rows]


def _atlas_name(config: Config, data: TaskData) -> str:
    """The atlas named in the time-series table; for synthetic data it may be the approximation."""
    first: pd.Series = data.scans.iloc[0]
    path = Paths(config.results).batch("timeseries", first["dataset"], int(first["batch"]))
    if not path.exists():
        return config.atlas.name
    names = read_table(path, "timeseries", ["atlas"])["atlas"].drop_null().unique().to_pylist()
    return str(sorted(names)[0]) if names else config.atlas.name
