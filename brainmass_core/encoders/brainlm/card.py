"""The model card of a BrainLM that was trained here."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from brainmass_core.config import Config
from brainmass_core.models.series import SeriesModel
from brainmass_core.pretrain.data.index import Index
from brainmass_core.pretrain.markdown import sources_table, table

SECTIONS = """\
# BrainLM, {model}, {n_rois} parcels

Self-supervised encoder of parcel time series, a masked autoencoder after Ortega Caro et al., ICLR
2024 (BrainLM). Input: windows of {window} timepoints ({t_r_text}) of {n_rois} parcels of {atlas},
with their coordinates. Output: an embedding of {embedding_dim} numbers per window.

Mode {mode}: {mode_text}

## Data

{sources}

Participants kept for evaluation were not used; the tables are checked for them at every start.
The temporal mean of each parcel is subtracted; then (x - median) / IQR, with the median and
interquartile range of each parcel over {n_recordings} of these scans, the first 200 timepoints of
each. `config.json` contains them under `scaling`: scale all other series with these, never with
their own.

## Training

{settings}

| over the last {n_last} steps | mean |
|---|---|
| squared error of the hidden values | {loss:.4f} |
| their variance, the error of predicting their mean | {variance:.4f} |
| fraction of the variance that is explained | {explained:.1%} |

These values are for training scans, with dropout. `history.parquet` contains every step, and
`loss.png` shows them.

## Cost

| | |
|---|---|
| parameters | {n_parameters:,} |
| matrix operations per scan and step | {flops:.3f} GFLOP |
| of the complete run | {total_flops:.4g} FLOP |

## Limits

- Research only: not a medical device, not for decisions about a person.
- Scores depend on preprocessing, atlas, repetition time and scaling; use it with those named above.
- Neighbouring timepoints and parcels of filtered series are strongly correlated: part of a low
  error is interpolation. Compare with the mean and with linear interpolation.
- The same command on the same kind of machine gives the same bits. Results with different
  numbers of processes agree without dropout {agreement}.

## Use

```python
import json
import numpy as np
import torch
from brainmass_core.encoders.brainlm.{module} import {kind}
from brainmass_core.timeseries.robust_scaling import RobustScaling

model = {kind}.from_pretrained(".")   # weights and config.json of this folder
about = json.load(open("config.json"))
fitted = {{k: about["scaling"][k] for k in ("median", "iqr", "n_recordings")}}
scaled = RobustScaling(**fitted).apply(series)   # (timepoints, {n_rois})
window = torch.from_numpy(np.ascontiguousarray(scaled[:{window}].T))[None]
embedding = model.encode(window, torch.tensor(about["coordinates"]))   # (1, {embedding_dim})
```

Configuration {config_hash}, brainmass {version}, time series sha256 {timeseries_sha256}.
"""
MODES = {
    "corrected": "tokens in natural order, scaled coordinates, exact masks, no padding tokens.",
    "reference": "computes what the released code computes; two embeddings of one series may "
    "differ.",
}
AGREEMENT = {
    "BrainLM": "to rounding",
    "BrainLMViT": "approximately: each process\n"
    "  averages over the hidden values of its own scans, whose number differs because of padding",
}
LAST = 20  # number of steps averaged for the card: a single one is noisy


def brainlm_card(
    model: SeriesModel,
    config: Config,
    index: Index,
    about: dict[str, Any],
    history: pa.Table,
    flops: int,
) -> str:
    """The card as Markdown."""
    how = {"model", "brainlm", "checkpoint_steps", "nodes", "processes_per_node", "compile"}
    own = config.pretrain.model_dump(exclude=how | config.pretrain.of_others)
    own |= config.pretrain.brainlm.model_dump(exclude={"mode", "window", "t_r"})
    own |= {"batch_size": about["batch_size"], "seed": config.seed, "steps": about["steps"]}
    own |= {"presets": ", ".join(config.presets) or "none"}
    last = (
        history.slice(max(0, len(history) - LAST)).to_pandas()[["loss", "target_variance"]].mean()
    )
    t_r = about["t_r"]
    return SECTIONS.format(
        **about,
        t_r_text=f"one each {t_r:g} s" if t_r else "of unknown repetition time",
        mode_text=MODES[model.mode],
        agreement=AGREEMENT[type(model).__name__],
        sources=sources_table(index),
        n_recordings=about["scaling"]["n_recordings"],
        settings=table(("setting", "value"), own.items()),
        n_last=min(LAST, len(history)),
        loss=last["loss"],
        variance=last["target_variance"],
        explained=1 - last["loss"] / last["target_variance"],
        n_parameters=sum(p.numel() for p in model.parameters()),
        flops=flops / 1e9,
        total_flops=float(flops) * about["steps"] * about["batch_size"],
        module=type(model).__module__.rsplit(".", 1)[-1],
        kind=type(model).__name__,
    )
