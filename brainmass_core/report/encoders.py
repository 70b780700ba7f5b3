"""The pre-training on the pages: one encoder, or several of which each has not seen one fold."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from brainmass_core import drawing
from brainmass_core.config import Config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.readers.sidecar import read_object
from brainmass_core.report import figures
from brainmass_core.report.page import Picture
from brainmass_core.tables import read_table

TITLE = "Pre-training"
COLLAPSE = (
    "With many steps, a running mean over a fiftieth of them. An effective rank that falls to 1 "
    "indicates collapse; a step with n scans has at most n - 1, so with 2 scans it is always 1."
)


def draw_loss(config: Config) -> Figure:
    """The losses of pre-training; of several encoders the total loss of each.

    Raises
    ------
    NotAvailableError
        If there is no history.
    """
    if not config.folds:
        return figures.loss(read_history(config))
    found = {f"encoder {i}": read_history(config.for_fold(i)) for i in config.folds}
    return figures.losses({name: h for name, h in found.items() if h is not None})


def loss_pictures(config: Config) -> list[Picture]:
    """For the front page: the losses of pre-training, one figure for each encoder."""
    found = []
    for fold in config.folds or (None,):
        png, missing = drawing.draw(partial(figures.loss, read_history(config.for_fold(fold))))
        name, title = ("loss", TITLE) if fold is None else (f"loss_{fold}", f"{TITLE}: {fold}")
        found.append(Picture(name, title, _caption_of(config, fold), png, missing))
    return found


def read_history(config: Config) -> pd.DataFrame | None:
    """History of the pre-training of the configured encoder; None if there is none.

    Returns
    -------
    DataFrame or None
        One row per step.
    """
    path = _folder(config) / "history.parquet"
    return read_table(path, "history").to_pandas() if path.exists() else None


def encoder_rows(config: Config) -> list[dict[str, Any]]:
    """Of several encoders: what each was trained on, and how many participants it has not seen.

    Returns
    -------
    list of dict
        One per encoder, from the files in its folder; empty in a study with one encoder.
    """
    rows = []
    for fold in config.folds:
        folder = _folder(config.for_fold(fold))
        if not (folder / "trained_on.parquet").exists():
            continue
        seen = read_table(folder / "trained_on.parquet", "trained_on").to_pandas()
        without = read_object(folder / "config.json").get("participants_left_out", {})
        history = read_history(config.for_fold(fold))
        rows.append(
            {
                "Encoder": fold,
                "Trained on participants": len(seen.drop_duplicates(["dataset", "participant_id"])),
                "Trained on scans": len(seen),
                "Not trained on participants": sum(without.values()),
                "of": ", ".join(f"{name}: {n}" for name, n in without.items() if n),
                "Steps": 0 if history is None else len(history),
                "Last loss": "" if history is None else f"{history['loss'].iloc[-1]:.4f}",
                "Folder": str(folder),
            }
        )
    return rows


def loss_caption(config: Config) -> str:
    """Caption of the loss curves."""
    said = _training(config)
    if config.folds:
        return f"{said} The total loss of each of {len(config.folds)} encoders. {COLLAPSE}"
    return f"{said} {COLLAPSE}"


def _caption_of(config: Config, fold: int | None) -> str:
    if fold is None:
        return loss_caption(config)
    return (
        f"Encoder {fold} of {len(config.folds)}, trained without the participants of fold {fold}. "
        f"{_training(config)} {COLLAPSE}"
    )


def _training(config: Config) -> str:
    encoder = config.pretrain.encoder
    default = f"Losses of the pre-training ({encoder.label}, {config.pretrain.epochs} epochs)."
    return encoder.pages.training(config.pretrain) if encoder.pages.training else default


def _folder(config: Config) -> Path:
    return Paths(config.results).pretrain(config.pretrain.model, config.pretrain.fold)
