"""BrainMass (Yang et al., IEEE TMI 2024, doi:10.1109/TMI.2024.3414476).

One ROI is one token and its row of the FC matrix is the token's vector, so d_model = n_rois. Two
objectives share the encoder: alignment of two pseudo-FC views of a scan with a slowly moving
target network (BYOL, Grill et al. 2020), and masked-ROI modelling on the first view.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainmass_core.encoders.brainmass.losses import alignment_loss, classification_loss
from brainmass_core.encoders.brainmass.network import (
    READOUT,
    SIZES,
    Encoder,
    heads_for,
    mlp,
    rows_at,
)
from brainmass_core.models.pretrained import Pretrained
from brainmass_core.readers.limits import quoted

READOUTS = ("tokens", "beside_fc", "projection")
SPECIAL = 2  # tokens before those of the ROIs in separate masked passes


class BrainMass(Pretrained):
    """Encoder with everything that its pre-training needs.

    Parameters
    ----------
    size : {"tiny", "small", "base", "large", "release-2"}
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
    fisher_z : bool
        Whether FC is transformed by Fisher z before the first layer; see `Encoder.prepare`.
    passes : {"separate", "merged"}
        Whether `forward` has separate passes for alignment and for the two masked-ROI tasks, as in
        the released code, or masked passes that serve both.

    Raises
    ------
    ValueError
        If the heads do not divide `n_rois`.
    """

    ARGUMENTS = ("size", "n_rois", "heads")
    OPTIONAL: ClassVar = {"fisher_z": False}
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
        fisher_z: bool = False,
        passes: str = "separate",
    ) -> None:
        super().__init__()
        self.size, self.n_rois, self.heads = size, n_rois, heads_for(size, n_rois, heads)
        shape, self.masking, self.fisher_z = SIZES[size], masking, fisher_z
        self.passes = passes
        self.online = Encoder(n_rois, self.heads, shape, dropout, fisher_z)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.predictor = mlp(shape.feature_dim, 2 * shape.feature_dim, shape.feature_dim)
        self.classification_head = _head(n_rois, shape.feedforward)
        self.reconstruction_head = _head(n_rois, shape.feedforward)
        self.mask_token = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, 1, n_rois)))
        self.cls_token = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, 1, n_rois)))
        self.dist_token = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, 1, n_rois)))
        self.register_buffer(
            "positions", sinusoid_table(n_rois + SPECIAL, n_rois), persistent=False
        )
        self.register_buffer("roi_pairs", _edge_index(n_rois), persistent=False)
        if not train_heads:
            for part in (self.classification_head, self.reconstruction_head):
                part.requires_grad_(False)
            self.mask_token.requires_grad_(False)
        if not train_heads or passes == "merged":  # merged passes have no special tokens
            for token in (self.cls_token, self.dist_token):
                token.requires_grad_(False)

    @property
    def embedding_dim(self) -> int:
        """Length of the embedding, 8 per ROI."""
        return READOUT * self.n_rois

    def matrices(self, fc: Tensor) -> Tensor:
        """Input of the first layer: full matrices, transformed by Fisher z if the model wants it.

        Parameters
        ----------
        fc : Tensor (B, n_rois, n_rois) or (B, n_edges)
            Edges are in row-major order, without the diagonal, which is set to 1.

        Returns
        -------
        Tensor (B, n_rois, n_rois), float32
            Matrices are returned with the diagonal that they have.

        Raises
        ------
        ValueError
            If the shape fits neither.
        """
        n = self.n_rois
        edges = n * (n - 1) // 2
        if fc.shape[1:] == (n, n):
            return self.online.prepare(fc.float())
        if fc.ndim != 2 or fc.shape[1] != edges:
            raise ValueError(
                f"found FC of shape {tuple(fc.shape)}, expected (batch, {n}, {n}) or "
                f"(batch, {edges}): the model was made for {n} ROIs"
            )
        with_one = functional.pad(
            fc.float(), (0, 1), value=1.0
        )  # the last entry serves the diagonal
        return self.online.prepare(with_one[:, self.roi_pairs].view(-1, n, n))

    def encode(self, fc: Tensor, readout: str = "") -> Tensor:
        """The embedding that downstream tasks use, or another readout.

        Parameters
        ----------
        fc : Tensor (B, n_rois, n_rois) or (B, n_edges)
        readout : {"", "tokens", "beside_fc", "projection"}
            Instead of the embedding: the tokens of the last layer, a matrix of which the upper
            triangle is taken as of FC; FC itself followed by the embedding; or the projection of
            the embedding, in which the pre-training aligns two views.

        Returns
        -------
        Tensor (B, 8 * n_rois), (B, n_edges), (B, n_edges + 8 * n_rois) or (B, feature_dim)

        Raises
        ------
        ValueError
            If there is no such readout, or the shape of the FC does not fit.
        """
        x = self.matrices(fc)
        if not readout:
            return self.online.embed(x)
        if readout == "projection":
            return self.online.projector(self.online.embed(x))
        above = tuple(torch.triu_indices(self.n_rois, self.n_rois, offset=1, device=x.device))
        tokens = self.online.tokens(x)
        if readout == "tokens":
            return tokens[:, *above]
        if readout != "beside_fc":
            raise ValueError(f"found readout {quoted(readout)}, expected {', '.join(READOUTS)}")
        edges = fc.float() if fc.ndim == 2 else fc.float()[:, *above]
        return torch.cat([edges, self.online.readout(tokens).flatten(1)], dim=1)

    def forward(
        self, view_1: Tensor, view_2: Tensor, masked_for_class: Tensor, masked_for_values: Tensor
    ) -> dict[str, Tensor]:
        """The three losses of one batch.

        With separate passes the online network sees both views entirely, for alignment, and the
        first one with either set of ROIs hidden, for the two tasks. With merged passes it sees the
        first view without the ROIs to classify and the second without those to reconstruct, and
        both are aligned with the other view, of which the target sees all:
        ``docs/explanation/pretraining.md``.

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
            ``reconstruction`` (squared units of the input, FC or its Fisher z), and the detached
            ``embedding`` of both views (2, B, 8 * n_rois).
        """
        first, second = self.matrices(view_1), self.matrices(view_2)
        views, masked = torch.cat([first, second]), (masked_for_class, masked_for_values)
        merged = self.passes == "merged"
        seen = self._both_hidden(first, second, masked) if merged else views  # (2B, n, n)
        tokens = self.online.tokens(seen)
        embeddings = self.online.readout(tokens).flatten(1).chunk(2)
        # the projector sees the views one after the other: its batch norm is over B scans
        q_1, q_2 = (self.predictor(self.online.projector(e)) for e in embeddings)
        with torch.no_grad():
            k_1, k_2 = (self.target.projector(e) for e in self.target.embed(views).chunk(2))

        if merged:
            of_values = second
            for_class, for_values = map(rows_at, tokens.chunk(2), masked)
        else:
            of_values = first
            for_class, for_values = self._masked_tokens(first, masked)  # (B, n_masked, n) each
        original = rows_at(first, masked_for_class)
        reconstructed = self.reconstruction_head(for_values)
        return {
            "alignment": alignment_loss(q_1, k_2) + alignment_loss(q_2, k_1),
            "classification": classification_loss(original, self.classification_head(for_class)),
            "reconstruction": functional.mse_loss(
                reconstructed.float(), rows_at(of_values, masked_for_values)
            ),
            "embedding": torch.stack(embeddings).detach(),
        }

    def _both_hidden(self, first: Tensor, second: Tensor, masked: Sequence[Tensor]) -> Tensor:
        """Both views (B, n, n) with ROIs hidden, of each those of one task; (2B, n, n).

        As in iBOT (Zhou et al. 2022, arXiv:2111.07832) the mask token replaces a hidden token,
        which keeps its position. Visible tokens get none, so that the encoder sees them here as in
        all tasks; without theirs all hidden tokens of a sample would be the same.
        """
        token = self.mask_token + self.positions[:, SPECIAL:]  # (1, n, n)
        pairs = zip((first, second), masked, strict=True)
        return torch.cat([self._hidden(fc, rois, token) for fc, rois in pairs])

    def _masked_tokens(self, fc: Tensor, masked: Sequence[Tensor]) -> list[Tensor]:
        """Encode with ROIs hidden; return the tokens (B, m, n_rois) of each set of masked ROIs.

        All sets (B, m) go through the encoder in one batch: no layer of it looks at other samples.
        """
        x = torch.cat([self._hidden(fc, rois, self.mask_token) for rois in masked])  # (k B, n, n)
        special = [t.expand(len(x), -1, -1) for t in (self.cls_token, self.dist_token)]
        x = torch.cat([*special, x], dim=1) + self.positions  # (k B, n + 2, n)
        return self.online.tokens_at(x, [rois + len(special) for rois in masked])

    def _hidden(self, fc: Tensor, masked: Tensor, token: Tensor) -> Tensor:
        """FC (B, n, n) with `token` (1, 1 or n, n) in place of masked rows.

        Masked columns, where they are hidden as well, get the mask token itself.
        """
        hidden = torch.zeros(fc.shape[:2], dtype=torch.bool, device=fc.device)
        hidden = hidden.scatter(1, masked, True)
        if self.masking == "rows_and_columns":
            # the matrix stays symmetric: what stands for FC[j, i] stands for FC[i, j]
            fc = torch.where(hidden[:, None, :], self.mask_token.transpose(1, 2), fc)
        return torch.where(hidden[..., None], token, fc)

    @torch.no_grad()
    def update_target(self, decay: float) -> None:
        """Update the target by an exponential moving average (EMA), as in BYOL.

        Its parameters become ``decay * target + (1 - decay) * online``. Buffers are not updated:
        the target's batch norm has separate statistics.
        """
        target: list[Tensor] = list(self.target.parameters())
        online: list[Tensor] = list(self.online.parameters())
        torch._foreach_mul_(target, decay)  # one launch for all tensors, as in torch.optim
        torch._foreach_add_(target, online, alpha=1 - decay)


def sinusoid_table(length: int, width: int) -> Tensor:
    """Fixed positions (1, length, width): sine in even, cosine in odd columns (Vaswani 2017).

    Returns
    -------
    Tensor (1, length, width)
        float32.
    """
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
    fisher_z: bool = False,
    passes: str = "separate",
) -> BrainMass:
    """A model with initial weights drawn from `seed`; leaves the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BrainMass(size, n_rois, heads, dropout, train_heads, masking, fisher_z, passes)


def _head(n_rois: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_rois, hidden), nn.LeakyReLU(), nn.Linear(hidden, n_rois))


def _edge_index(n_rois: int) -> Tensor:
    """(n_rois²,) positions in an edge vector, followed by one entry for the diagonal."""
    rows, columns = torch.triu_indices(n_rois, n_rois, offset=1)
    n_edges = len(rows)
    index = torch.full((n_rois, n_rois), n_edges)
    index[rows, columns] = torch.arange(n_edges)
    index[columns, rows] = torch.arange(n_edges)
    return index.flatten()
