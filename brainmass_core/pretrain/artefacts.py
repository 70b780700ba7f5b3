"""Outputs of pre-training: weights, configuration, history, curves and a model card.

Repeating the same run gives byte-identical files: they contain no times or host names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from brainmass_core import __version__
from brainmass_core.config import Config
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.index import Index
from brainmass_core.pretrain.loop.checkpoint import State
from brainmass_core.pretrain.model_specs import model_spec_of
from brainmass_core.tables import atomic_path, write_table

Curves = Mapping[str, Mapping[str, str]]


def publish(config: Config, index: Index, state: State) -> None:
    """Write all files of a finished run, each atomically."""
    folder, spec = (
        Paths(config.results).pretrain(config.pretrain.model),
        model_spec_of(config.pretrain),
    )
    model = spec.build(config, index.n_rois)
    model.load_state_dict(state.model)
    about = describe(config, index, state, model)
    model.save_pretrained(folder, about)
    history = history_table(state.history, spec.history)
    write_table(folder / "history.parquet", history, "history", about["config_hash"])
    with atomic_path(folder / "loss.png") as path:
        draw_history(history, spec.curves, path)
    with atomic_path(folder / "README.md") as path:
        path.write_text(spec.card(model, config, index, about, history))


def describe(config: Config, index: Index, state: State, model: Pretrained) -> dict[str, Any]:
    """Content of ``config.json``: settings to build the model and to prepare its input."""
    spec = model_spec_of(config.pretrain)
    return {
        "model": config.pretrain.model,
        **spec.describe(model, config, index, state.constants),
        "steps": state.step,
        "batch_size": state.batch_size,
        "seed": config.seed,
        "version": __version__,
        "config_hash": stage_hash(config, "pretrain"),
        spec.digest: index.fingerprint,
        **({"refused": {r.dataset: r.warning for r in index.refused}} if index.refused else {}),
    }


def history_table(rows: torch.Tensor, schema: pa.Schema) -> pa.Table:
    """Convert (n_steps, n_columns) to a table of a `tables.history_schema`; NaN becomes null.

    Parameters
    ----------
    rows : Tensor (n_steps, n_columns)
    """
    columns = [[None if math.isnan(v) else v for v in column] for column in rows.T.tolist()]
    arrays = [
        pa.array(c, type=pa.float64()).cast(field.type)
        for c, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def draw_history(history: pa.Table, curves: Curves, path: Path) -> None:
    """Draw the loss, its components and the spread of the embedding over steps, as PNG.

    Parameters
    ----------
    curves : mapping
        See `ModelSpec.curves`; the first column is drawn in black.
    """
    # imported late, because tasks load models from this module without drawing
    from brainmass_core.drawing import new_figure

    data = history.to_pydict()
    n = len(curves) + 1
    figure = new_figure(7, 8 * n / 3)
    panels = figure.subplots(n, 1, sharex=True)
    for axes, (title, columns) in zip(panels, curves.items(), strict=False):
        for name, label in columns.items():
            black = {"color": "black"} if name == "loss" else {}
            axes.plot(data["step"], data[name], label=label, linewidth=1, **black)
        axes.set_ylabel(title)
        if any(columns.values()):
            axes.legend(
                frameon=False,
                fontsize="small",
                ncols=3,
                loc="lower center",
                bbox_to_anchor=(0.5, 1),
            )
    measured = [i for i, v in enumerate(data["effective_rank"]) if v is not None]
    steps = [data["step"][i] for i in measured]
    panels[-1].plot(steps, [data["effective_rank"][i] for i in measured], color="tab:blue")
    panels[-1].set_ylabel("effective rank", color="tab:blue")
    panels[-1].set_xlabel("step")
    twin = panels[-1].twinx()
    twin.plot(steps, [data["embedding_std"][i] for i in measured], color="tab:orange")
    twin.set_ylabel("embedding standard deviation", color="tab:orange")
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
