"""Losses of BrainMass's pre-training, as functions of what the network and its heads predict."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def alignment_loss(query: Tensor, key: Tensor) -> Tensor:
    """Mean over the batch of ``2 - 2 cos(query, key)``; (B, d) each, result in [0, 4].

    Parameters
    ----------
    query, key : Tensor (B, d)

    Returns
    -------
    Tensor ()
        float32.
    """
    return (2 - 2 * functional.cosine_similarity(query.float(), key.float(), dim=-1)).mean()


def classification_loss(original: Tensor, predicted: Tensor) -> Tensor:
    """Cross-entropy of finding a masked ROI's prediction among those of the same sample.

    Parameters
    ----------
    original, predicted : Tensor (B, n_masked, n_rois)
        FC rows and what the head predicts for them; compared by plain dot product.

    Returns
    -------
    Tensor ()
        ``ln n_masked`` where all scores are equal.
    """
    scores = original.float() @ predicted.float().transpose(1, 2)  # (B, m, m): row i against all j
    batch, m, _ = scores.shape
    truth = torch.arange(m, device=scores.device).repeat(batch)
    return functional.cross_entropy(scores.reshape(batch * m, m), truth)
