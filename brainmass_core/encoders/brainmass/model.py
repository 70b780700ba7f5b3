"""BrainMass (Yang et al., IEEE TMI 2024, doi:10.1109/TMI.2024.3414476).

One ROI is one token and its row of the FC matrix is the token's vector, so d_model = n_rois. Two
objectives share the encoder: alignment of two pseudo-FC views of a scan with a slowly moving
target network (BYOL, Grill et al. 2020), and masked-ROI modelling on the first view.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmass_core.models import fused
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.readers.limits import quoted

READOUT = 8  # features per ROI; the embedding is their concatenation


@dataclass(frozen=True)
class Size:
    """Shape of a model.

    Attributes
    ----------
    feature_dim : int
        Width of the space in which the views are aligned.
    """

    depth: int
    heads: int
    feedforward: int
    feature_dim: int = 1024


SIZES = {
    "tiny": Size(2, 5, 256, feature_dim=128),  # for tests and the demo; not in the paper
    "small": Size(8, 5, 1024),
    "base": Size(16, 10, 2048),
    "large": Size(32, 20, 4096),
}


def heads_for(size: str, n_rois: int, heads: int | None = None) -> int:
    """Number of attention heads of a size at this number of ROIs.

    Parameters
    ----------
    heads : int, optional
        The user's choice. Default: that of the size; `tiny` takes the largest number up to its
        own that fits.

    Raises
    ------
    ValueError
        If there is no such size, or the heads do not divide `n_rois`; names those that do.
    """
    if not isinstance(size, str) or size not in SIZES:
        raise ValueError(f"found size {quoted(size)}, expected one of {', '.join(SIZES)}")
    if heads is not None and heads < 1:
        raise ValueError(f"found {heads} attention heads, expected 1 or more")
    wanted = heads or SIZES[size].heads
    divisors = [h for h in range(1, n_rois + 1) if n_rois % h == 0]
    if wanted in divisors:
        return wanted
    if size == "tiny" and heads is None:
        return max(h for h in divisors if h < wanted)
    nearest = [max(h for h in divisors if h < wanted), *[h for h in divisors if h > wanted][:1]]
    choices = " or ".join(map(str, nearest))
    raise ValueError(
        f"model size {quoted(size)}: {wanted} attention heads do not divide {n_rois} ROIs; "
        f"set pretrain.heads to {choices}"
    )


class Layer(nn.TransformerEncoderLayer):
    """Post-norm transformer layer with torch's parameters and mathematics.

    On the CPU in float32, or bfloat16 by autocast, through the functions of `fused`; elsewhere
    through torch's.
    """

    self_attn: nn.MultiheadAttention

    def __init__(self, n_rois: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__(n_rois, heads, feedforward, dropout, batch_first=True)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Tokens (B, n_tokens, d), or of each sample those at `rows` (B, m), in their context."""
        mine = x if rows is None else _rows(x, rows)  # (B, m, d)
        p = self.dropout.p if self.training else 0.0
        y = self._add_norm(mine, self._attend(x, mine, p), self.norm1, p)
        return self._add_norm(y, self._feed_forward(y, p), self.norm2, p)

    def _attend(self, x: Tensor, mine: Tensor, p: float) -> Tensor:
        """What the tokens `mine` (B, m, d) take from all tokens x (B, n, d)."""
        attn = self.self_attn
        weight, bias = attn.in_proj_weight, attn.in_proj_bias  # (3 d, d), (3 d,)
        if mine is x:
            q, k, v = functional.linear(x, weight, bias).chunk(3, dim=-1)
        else:
            d = x.shape[-1]
            q = functional.linear(mine, weight[:d], bias[:d])
            k, v = functional.linear(x, weight[d:], bias[d:]).chunk(2, dim=-1)
        if fused.usable(x):
            mixed = fused.attention(q.float(), k.float(), v.float(), attn.num_heads, p)
        else:
            # (B, heads, n, d / heads)
            q, k, v = (t.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for t in (q, k, v))
            mixed = functional.scaled_dot_product_attention(q, k, v, dropout_p=p)
            mixed = mixed.transpose(1, 2).flatten(2)
        return attn.out_proj(mixed)

    def _feed_forward(self, y: Tensor, p: float) -> Tensor:
        first, second = self.linear1, self.linear2
        if fused.usable(y):
            lower = torch.is_autocast_enabled("cpu")
            dtype = torch.get_autocast_dtype("cpu") if lower else y.dtype
            mixed = fused.feed_forward(y, first.weight, first.bias, second.weight, p, dtype)
            return mixed + second.bias
        return second(functional.dropout(functional.relu(first(y)), p))

    def _add_norm(self, x: Tensor, branch: Tensor, norm: nn.LayerNorm, p: float) -> Tensor:
        if fused.usable(x):
            return fused.drop_add_norm(x, branch.float(), norm.weight, norm.bias, norm.eps, p)
        return norm(x + functional.dropout(branch, p))


class Encoder(nn.Module):
    """Transformer over ROI tokens, readout and projector: the online and the target network.

    Post-norm layers as `torch.nn.TransformerEncoderLayer` makes them; no embedding of the input,
    no positions and no further norm on this path.
    """

    def __init__(self, n_rois: int, heads: int, size: Size, dropout: float) -> None:
        super().__init__()
        width, hidden = READOUT * n_rois, 2 * READOUT * n_rois
        self.layers = nn.ModuleList(
            Layer(n_rois, heads, size.feedforward, dropout) for _ in range(size.depth)
        )
        self.readout = nn.Sequential(nn.Linear(n_rois, READOUT), nn.LeakyReLU())
        self.projector = _mlp(width, hidden, size.feature_dim)

    def tokens(self, x: Tensor) -> Tensor:
        """(B, n_tokens, n_rois) to the same."""
        for layer in self.layers:
            x = layer(x)
        return x

    def tokens_at(self, x: Tensor, rows: Sequence[Tensor]) -> list[Tensor]:
        """As `tokens`, but only those at each of k sets of rows (B, m), for x (k B, n_tokens, d).

        The last layer is worked out for them alone: no later one needs the others.
        """
        *layers, last = self.layers
        for layer in layers:
            x = layer(x)
        return [last(t, picked) for t, picked in zip(x.chunk(len(rows)), rows, strict=True)]

    def embed(self, fc: Tensor) -> Tensor:
        """(B, n_rois, n_rois) to the embedding (B, 8 n_rois), ROI by ROI."""
        return self.readout(self.tokens(fc)).flatten(1)


class BrainMass(Pretrained):
    """Encoder with everything that its pre-training needs.

    Parameters
    ----------
    size : {"tiny", "small", "base", "large"}
    n_rois : int
        ROIs of the atlas, which is also the width of the transformer.
    heads : int, optional
        Attention heads; must divide `n_rois`. Default: that of the size.
    dropout : float
        In the four places of a transformer layer.
    train_heads : bool
        False keeps the masked-ROI heads and the three tokens at their random initial values, as
        the authors' released code does.
    masking : {"rows", "rows_and_columns"}
        What is hidden of a masked ROI: its token alone, as in the released code, from which most
        of it can still be read off the other tokens by symmetry; or its edges in them as well.

    Raises
    ------
    ValueError
        If the heads do not divide `n_rois`.
    """

    ARGUMENTS = ("size", "n_rois", "heads")
    roi_pairs: Tensor
    positions: Tensor

    def __init__(
        self,
        size: str,
        n_rois: int,
        heads: int | None = None,
        dropout: float = 0.1,
        train_heads: bool = True,
        masking: str = "rows",
    ) -> None:
        super().__init__()
        self.size, self.n_rois, self.heads = size, n_rois, heads_for(size, n_rois, heads)
        shape, self.masking = SIZES[size], masking
        self.online = Encoder(n_rois, self.heads, shape, dropout)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.predictor = _mlp(shape.feature_dim, 2 * shape.feature_dim, shape.feature_dim)
        self.classification_head = _head(n_rois, shape.feedforward)
        self.reconstruction_head = _head(n_rois, shape.feedforward)
        self.mask_token = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, 1, n_rois)))
        self.cls_token = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, 1, n_rois)))
        self.dist_token = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, 1, n_rois)))
        self.register_buffer("positions", sinusoid_table(n_rois + 2, n_rois), persistent=False)
        self.register_buffer("roi_pairs", _edge_index(n_rois), persistent=False)
        if not train_heads:
            for part in (self.classification_head, self.reconstruction_head):
                part.requires_grad_(False)
            for token in (self.mask_token, self.cls_token, self.dist_token):
                token.requires_grad_(False)

    @property
    def embedding_dim(self) -> int:
        """Length of the embedding, 8 per ROI."""
        return READOUT * self.n_rois

    def matrices(self, fc: Tensor) -> Tensor:
        """Full matrices (B, n_rois, n_rois) in float32, from matrices or upper triangles.

        Parameters
        ----------
        fc : Tensor (B, n_rois, n_rois) or (B, n_edges)
            Edges are in row-major order, without the diagonal, which is set to 1.

        Raises
        ------
        ValueError
            If the shape fits neither.
        """
        n = self.n_rois
        edges = n * (n - 1) // 2
        if fc.shape[1:] == (n, n):
            return fc.float()
        if fc.ndim != 2 or fc.shape[1] != edges:
            raise ValueError(
                f"found FC of shape {tuple(fc.shape)}, expected (batch, {n}, {n}) or "
                f"(batch, {edges}): the model was made for {n} ROIs"
            )
        with_one = functional.pad(
            fc.float(), (0, 1), value=1.0
        )  # the last entry serves the diagonal
        return with_one[:, self.roi_pairs].view(-1, n, n)

    def encode(self, fc: Tensor) -> Tensor:
        """The embedding that downstream tasks use.

        Parameters
        ----------
        fc : Tensor (B, n_rois, n_rois) or (B, n_edges)

        Returns
        -------
        Tensor (B, 8 * n_rois)
        """
        return self.online.embed(self.matrices(fc))

    def forward(
        self, view_1: Tensor, view_2: Tensor, masked_for_class: Tensor, masked_for_values: Tensor
    ) -> dict[str, Tensor]:
        """The three losses of one batch.

        Parameters
        ----------
        view_1, view_2 : Tensor (B, n_rois, n_rois) or (B, n_edges)
            Two pseudo-FCs of each scan.
        masked_for_class, masked_for_values : Tensor (B, n_masked), int64
            ROIs hidden for classification and for reconstruction.

        Returns
        -------
        dict of Tensor
            Scalars ``alignment`` in [0, 8], ``classification`` (ln n_masked by chance),
            ``reconstruction`` (FC units squared), and the detached ``embedding`` of both views
            (2, B, 8 * n_rois).
        """
        first, second = self.matrices(view_1), self.matrices(view_2)
        views = torch.cat([first, second])  # (2B, n, n)
        # the projector sees the views one after the other: its batch norm is over B scans
        embedding_1, embedding_2 = self.online.embed(views).chunk(2)
        q_1 = self.predictor(self.online.projector(embedding_1))  # (B, feature_dim)
        q_2 = self.predictor(self.online.projector(embedding_2))
        with torch.no_grad():
            k_1, k_2 = (self.target.projector(e) for e in self.target.embed(views).chunk(2))

        masked = (masked_for_class, masked_for_values)
        for_class, for_values = self._masked_tokens(first, masked)  # (B, n_masked, n) each
        original = _rows(first, masked_for_class)
        reconstructed = self.reconstruction_head(for_values)
        return {
            "alignment": alignment_loss(q_1, k_2) + alignment_loss(q_2, k_1),
            "classification": classification_loss(original, self.classification_head(for_class)),
            "reconstruction": functional.mse_loss(
                reconstructed.float(), _rows(first, masked_for_values)
            ),
            "embedding": torch.stack([embedding_1, embedding_2]).detach(),
        }

    def _masked_tokens(self, fc: Tensor, masked: Sequence[Tensor]) -> list[Tensor]:
        """Encode with ROIs hidden; return the tokens (B, m, n_rois) of each set of masked ROIs.

        All sets (B, m) go through the encoder in one batch: no layer of it looks at other samples.
        """
        x = torch.cat([self._hidden(fc, rois) for rois in masked])  # (k B, n, n)
        special = [t.expand(len(x), -1, -1) for t in (self.cls_token, self.dist_token)]
        x = torch.cat([*special, x], dim=1) + self.positions  # (k B, n + 2, n)
        return self.online.tokens_at(x, [rois + len(special) for rois in masked])

    def _hidden(self, fc: Tensor, masked: Tensor) -> Tensor:
        """FC (B, n, n) with the mask token in place of the masked rows, and of their columns."""
        hidden = torch.zeros(fc.shape[:2], dtype=torch.bool, device=fc.device)
        hidden = hidden.scatter(1, masked, True)
        if self.masking == "rows_and_columns":
            # the matrix stays symmetric: what stands for FC[j, i] stands for FC[i, j]
            fc = torch.where(hidden[:, None, :], self.mask_token.transpose(1, 2), fc)
        return torch.where(hidden[..., None], self.mask_token, fc)

    @torch.no_grad()
    def update_target(self, decay: float) -> None:
        """Move the target's parameters: ``decay * target + (1 - decay) * online``.

        Buffers stay: the target's batch norm keeps statistics of its own.
        """
        target: list[Tensor] = list(self.target.parameters())
        online: list[Tensor] = list(self.online.parameters())
        torch._foreach_mul_(target, decay)  # one launch for all tensors, as in torch.optim
        torch._foreach_add_(target, online, alpha=1 - decay)


def alignment_loss(query: Tensor, key: Tensor) -> Tensor:
    """Mean over the batch of ``2 - 2 cos(query, key)``; (B, d) each, result in [0, 4]."""
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


def sinusoid_table(length: int, width: int) -> Tensor:
    """Fixed positions (1, length, width): sine in even, cosine in odd columns (Vaswani 2017)."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    column = torch.arange(width)
    rate = torch.exp(-math.log(10000.0) * (column - column % 2).double() / width)
    angle = position * rate
    table = torch.where(column % 2 == 0, angle.sin(), angle.cos())
    return table.float()[None]


def parameter_counts(model: BrainMass) -> dict[str, int]:
    """Numbers of parameters: deployed, trained and in the paper's counting.

    The paper's 14.4, 25.4 and 67.0 million contain the target network, projector, predictor,
    heads, tokens and a layer norm over the ROIs that the released code never uses.
    """

    def count(*modules: nn.Module) -> int:
        return sum(p.numel() for m in modules for p in m.parameters())

    return {
        "deployed": count(model.online.layers, model.online.readout),
        "network": count(model.online),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "paper": count(model) + 2 * model.n_rois,
    }


def build(
    size: str,
    n_rois: int,
    seed: int,
    heads: int | None = None,
    dropout: float = 0.1,
    train_heads: bool = True,
    masking: str = "rows",
) -> BrainMass:
    """A model with initial weights drawn from `seed`; leaves the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BrainMass(size, n_rois, heads, dropout, train_heads, masking)


def _mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out)
    )


def _head(n_rois: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_rois, hidden), nn.LeakyReLU(), nn.Linear(hidden, n_rois))


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows (B, m, d) of x (B, n, d) at index (B, m)."""
    return x[torch.arange(len(x), device=x.device)[:, None], index]


def _edge_index(n_rois: int) -> Tensor:
    """(n_rois²,) positions in an edge vector, followed by one entry for the diagonal."""
    rows, columns = torch.triu_indices(n_rois, n_rois, offset=1)
    n_edges = len(rows)
    index = torch.full((n_rois, n_rois), n_edges)
    index[rows, columns] = torch.arange(n_edges)
    index[columns, rows] = torch.arange(n_edges)
    return index.flatten()
