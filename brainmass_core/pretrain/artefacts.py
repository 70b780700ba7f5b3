"""What pre-training leaves: weights, configuration, history, curves and a model card.

Everything is the same, byte by byte, when the same run is made again: no times, no host names.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from brainmass_core import __version__
from brainmass_core.config import Config, stage_hash
from brainmass_core.models.brainmass import BrainMass, build
from brainmass_core.paths import Paths
from brainmass_core.pretrain.card import model_card
from brainmass_core.pretrain.checkpoint import State
from brainmass_core.pretrain.data import Index
from brainmass_core.tables import HISTORY, atomic_path, write_table


def load_pretrained(folder: Path) -> BrainMass:
    """A pre-trained model in evaluation mode, on the CPU; see `BrainMass.from_pretrained`."""
    return BrainMass.from_pretrained(folder)


def untrained(n_rois: int, size: str, seed: int, heads: int | None = None) -> BrainMass:
    """The same architecture with random weights, in evaluation mode: the baseline to beat."""
    return build(size, n_rois, seed, heads).eval().requires_grad_(False)


def publish(config: Config, index: Index, state: State) -> None:
    """Write all files of a finished run, each atomically."""
    folder = Paths(config.results).pretrain(config.pretrain.model)
    model = BrainMass(config.pretrain.size, index.n_rois, config.pretrain.heads)
    model.load_state_dict(state.model)
    settings = describe(config, index, state, model)
    model.save_pretrained(folder, settings)
    history = history_table(state.history)
    write_table(folder / "history.parquet", history, "history", settings["config_hash"])
    with atomic_path(folder / "loss.png") as path:
        draw_history(history, path)
    with atomic_path(folder / "README.md") as path:
        path.write_text(model_card(config, index, settings, history, model))


def describe(config: Config, index: Index, state: State, model: BrainMass) -> dict[str, Any]:
    """Content of ``config.json``: what is needed to build the model and to feed it rightly."""
    return {
        "model": config.pretrain.model,
        "size": model.size,
        "n_rois": model.n_rois,
        "heads": model.heads,
        "embedding_dim": model.embedding_dim,
        "atlas": config.atlas.name,
        "estimator": config.pfc.estimator,
        "pfc": config.pfc.dropping,
        "steps": state.step,
        "batch_size": state.batch_size,
        "seed": config.seed,
        "version": __version__,
        "config_hash": stage_hash(config, "pretrain"),
        "pfc_sha256": index.fingerprint,
    }


def history_table(rows: torch.Tensor) -> pa.Table:
    """(n_steps, n_columns) to a table of `tables.HISTORY`; NaN becomes null."""
    columns = [[None if math.isnan(v) else v for v in column] for column in rows.T.tolist()]
    arrays = [
        pa.array(c, type=pa.float64()).cast(field.type)
        for c, field in zip(columns, HISTORY, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=HISTORY)


def draw_history(history: pa.Table, path: Path) -> None:
    """Loss, its parts, and whether the embedding collapses, over steps; a PNG."""
    data = history.to_pydict()
    figure = Figure(figsize=(7, 8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3, 1, sharex=True)
    panels[0].plot(data["step"], data["loss"], color="black", linewidth=1)
    panels[0].set_ylabel("total loss")
    labels = {
        "loss_alignment": "alignment (start about 4)",
        "loss_classification": "masked-ROI classification",
        "loss_reconstruction": "masked-ROI reconstruction",
    }
    for name, label in labels.items():
        panels[1].plot(data["step"], data[name], label=label, linewidth=1)
    panels[1].set_ylabel("parts, unweighted")
    panels[1].legend(
        frameon=False, fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1)
    )
    measured = [i for i, v in enumerate(data["effective_rank"]) if v is not None]
    steps = [data["step"][i] for i in measured]
    panels[2].plot(steps, [data["effective_rank"][i] for i in measured], color="tab:blue")
    panels[2].set_ylabel("effective rank", color="tab:blue")
    panels[2].set_xlabel("step")
    twin = panels[2].twinx()
    twin.plot(steps, [data["embedding_std"][i] for i in measured], color="tab:orange")
    twin.set_ylabel("embedding standard deviation", color="tab:orange")
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
