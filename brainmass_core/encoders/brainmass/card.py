"""The model card: training data, training, and limits of use."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import torch
from torch.utils.flop_counter import FlopCounterMode

from brainmass_core.config import Config
from brainmass_core.encoders.brainmass.model import BrainMass, parameter_counts
from brainmass_core.pretrain.data.index import Index
from brainmass_core.pretrain.markdown import sources_table, table

SECTIONS = """\
# BrainMass, size {size}, {n_rois} ROIs

Self-supervised encoder of functional connectivity (FC), after Yang et al., IEEE TMI 2024
(doi:10.1109/TMI.2024.3414476). Input: FC of {n_rois} parcels of {atlas}. Output: an embedding of
{embedding_dim} numbers per scan.

## Data

{sources}

Participants kept for evaluation were not used; the pFC tables are checked for them at every start.
Input of each scan is pseudo-FC: {estimator} correlation of {dropping}{fisher}.

## Training

{settings}

The last total loss is {loss:.4f}. `history.parquet` contains every step, and `loss.png` shows them.

## Cost

| | |
|---|---|
| parameters used for embeddings (transformer and readout) | {deployed:,} |
| parameters trained | {trained:,} |
| parameters as counted in the paper | {paper:,} |
| matrix operations per scan and step | {flops:.3f} GFLOP |
| of the complete run | {total_flops:.4g} FLOP |

## Limits

- Research only: not a medical device, not for decisions about a person.
- Scores depend on preprocessing, atlas and FC estimator; use it with those named above.
- Site, motion, age and sex are in FC and so in the embedding; compare with the confound baseline.
{merged}- The masked-ROI task hides rows of a symmetric matrix: most of a hidden row is also in the
  other tokens, as in the released code.
- With several processes batch norm uses the global batch, on GPUs and on the CPU; results with
  different numbers of processes agree up to rounding, but are not bit-identical. The same command
  on the same kind of machine gives the same bits.

## Use

```python
from brainmass_core import BrainMass

model = BrainMass.from_pretrained(".")   # weights and config.json of this folder
embedding = model.encode(fc)         # fc: (n, {n_rois}, {n_rois}) or (n, {n_edges})
```

Configuration {config_hash}, brainmass {version}, pFC sha256 {pfc_sha256}.
"""
MERGED = """\
- Pre-trained by one pass (`passes: merged`), not by the objective of the paper.
"""


def model_card(
    config: Config, index: Index, settings: dict[str, Any], history: pa.Table, model: BrainMass
) -> str:
    """The card as Markdown."""
    flops = flops_per_sample(model, config)
    how = {"model", "size", "checkpoint_steps", "nodes", "processes_per_node", "compile"}
    how |= {"passes"} if config.pretrain.passes == "separate" else set()  # as before the setting
    own = config.pretrain.model_dump(exclude=how | config.pretrain.of_others)
    own |= {"heads": model.heads, "batch_size": settings["batch_size"], "seed": config.seed}
    own |= {"steps": settings["steps"], "presets": ", ".join(config.presets) or "none"}
    return SECTIONS.format(
        **settings,
        dropping=config.pfc.dropping,
        merged=MERGED if model.passes == "merged" else "",
        fisher="; the encoder transforms it by Fisher z" if model.fisher_z else "",
        **parameter_counts(model),
        sources=sources_table(index),
        settings=table(("setting", "value"), own.items()),
        loss=history["loss"][-1].as_py(),
        flops=flops / 1e9,
        total_flops=float(flops) * settings["steps"] * settings["batch_size"],
        n_edges=model.n_rois * (model.n_rois - 1) // 2,
    )


def flops_per_sample(model: BrainMass, config: Config) -> int:
    """Floating-point operations of the matrix products of one scan in one step.

    Forward and backward, two per multiply-add, counted by torch on tensors without storage.
    """
    n = 2  # batch norm needs two
    s = config.pretrain
    with torch.device("meta"):
        about = (model.size, model.n_rois, model.heads, s.dropout, s.train_heads)
        meta_model = BrainMass(*about, masking=s.masking, passes=s.passes)
        fc = torch.empty(n, model.n_rois, model.n_rois)
        masks = [
            torch.zeros(n, m, dtype=torch.long)
            for m in (s.n_masked_classification, s.n_masked_reconstruction)
        ]
        with FlopCounterMode(display=False) as counter:
            losses = meta_model(fc, fc, *masks)
            (losses["alignment"] + losses["classification"] + losses["reconstruction"]).backward()
    return counter.get_total_flops() // n
