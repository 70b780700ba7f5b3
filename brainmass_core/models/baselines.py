"""Baseline networks that are trained from scratch on FC.

BrainNetCNN (Kawahara et al. 2017, doi:10.1016/j.neuroimage.2016.09.046) and the Brain Network
Transformer (Kan et al. 2022, NeurIPS, arXiv 2210.06681), implemented from the formulas of the
papers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SLOPE = 0.33  # negative slope of BrainNetCNN's leaky ReLUs
MAX_HEADS = 4  # limit for the Brain Network Transformer


class EdgeToEdge(nn.Module):
    """Edge-to-edge layer: for each edge a weighted sum over all edges of its row and column.

    For output map m: ``out[m, i, j] = bias[m] + sum_c sum_k (row[m, c, k] A[c, i, k] +
    column[m, c, k] A[c, k, j])`` (Kawahara et al. 2017, eq. 1).

    Parameters
    ----------
    n_in, n_out : int
        Feature maps.
    n_rois : int
    """

    def __init__(self, n_in: int, n_out: int, n_rois: int) -> None:
        super().__init__()
        self.row = nn.Conv2d(n_in, n_out, (1, n_rois))
        self.column = nn.Conv2d(n_in, n_out, (n_rois, 1), bias=False)

    def forward(self, a: Tensor) -> Tensor:
        """Apply the layer.

        Parameters
        ----------
        a : Tensor (B, n_in, n_rois, n_rois)
            Need not be symmetric.

        Returns
        -------
        Tensor (B, n_out, n_rois, n_rois)
        """
        return self.row(a) + self.column(a)  # (B, m, n, 1) + (B, m, 1, n)


class EdgeToNode(EdgeToEdge):
    """Edge-to-node layer: for each node a weighted sum over its outgoing and incoming edges.

    ``out[m, i] = bias[m] + sum_c sum_k (row[m, c, k] A[c, i, k] + column[m, c, k] A[c, k, i])``
    (Kawahara et al. 2017, eq. 2). Parameters are those of `EdgeToEdge`.
    """

    def forward(self, a: Tensor) -> Tensor:
        """Apply the layer.

        Parameters
        ----------
        a : Tensor (B, n_in, n_rois, n_rois)

        Returns
        -------
        Tensor (B, n_out, n_rois)
        """
        return self.row(a).squeeze(3) + self.column(a).squeeze(2)


class BrainNetCNN(nn.Module):
    """Two edge-to-edge layers, edge-to-node, node-to-graph and a perceptron.

    Parameters
    ----------
    n_rois : int
    n_out : int
        Numbers per scan: one per class, or one for a regression.
    edge_maps, node_maps, graph_units : int
        Widths of the three kinds of layers; the paper's by default.
    dropout : float
        Dropout after the node-to-graph layer and the first layer of the perceptron.
    """

    def __init__(
        self,
        n_rois: int,
        n_out: int,
        edge_maps: int = 32,
        node_maps: int = 64,
        graph_units: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.edges = nn.Sequential(
            EdgeToEdge(1, edge_maps, n_rois),
            nn.LeakyReLU(SLOPE),
            EdgeToEdge(edge_maps, edge_maps, n_rois),
            nn.LeakyReLU(SLOPE),
        )
        self.nodes = nn.Sequential(EdgeToNode(edge_maps, node_maps, n_rois), nn.LeakyReLU(SLOPE))
        # eq. 3: one weight per node and map
        self.graph = nn.Sequential(
            nn.Conv1d(node_maps, graph_units, n_rois),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
            nn.Dropout(dropout),
        )
        self.head = nn.Sequential(
            nn.Linear(graph_units, 128),
            nn.LeakyReLU(SLOPE),
            nn.Dropout(dropout),
            nn.Linear(128, 30),
            nn.LeakyReLU(SLOPE),
            nn.Linear(30, n_out),
        )

    def forward(self, fc: Tensor) -> Tensor:
        """Logits or predictions of scans.

        Parameters
        ----------
        fc : Tensor (B, n_rois, n_rois)

        Returns
        -------
        Tensor (B, n_out)
        """
        edges = self.edges(fc[:, None])  # (B, edge_maps, n, n)
        nodes = self.nodes(edges)  # (B, node_maps, n)
        return self.head(self.graph(nodes))  # (B, graph_units) -> (B, n_out)


class ClusterReadout(nn.Module):
    """Soft clustering of the node features around orthonormal centres.

    With centres e_k: ``P[i, k] = softmax_k(z_i . e_k)``, and the graph is ``P' Z``, one vector per
    cluster (Kan et al. 2022, eq. 3 and 4). The centres are drawn once and not trained, so they
    remain orthonormal; the paper only initialises them this way (Xavier, Gram-Schmidt).
    """

    centres: Tensor

    def __init__(self, width: int, n_clusters: int) -> None:
        super().__init__()
        if n_clusters > width:
            raise ValueError(
                f"found {n_clusters} clusters of nodes with {width} features: at most {width} "
                "vectors can be orthonormal; lower the number of clusters"
            )
        self.register_buffer("centres", nn.init.orthogonal_(torch.empty(n_clusters, width)))

    def forward(self, nodes: Tensor) -> Tensor:
        """Sum node features by cluster.

        Parameters
        ----------
        nodes : Tensor (B, n_nodes, width)

        Returns
        -------
        Tensor (B, n_clusters, width)
            Each node contributes to all clusters, with weights that sum to 1.
        """
        assignment = (nodes @ self.centres.T).softmax(dim=-1)  # (B, n_nodes, n_clusters)
        return assignment.transpose(1, 2) @ nodes


class BrainNetworkTransformer(nn.Module):
    """Transformer over FC rows and orthonormal clustering readout.

    A token is the FC row of an ROI; there are no position embeddings.

    Parameters
    ----------
    n_rois : int
    n_out : int
        Numbers per scan: one per class, or one for a regression.
    depth : int
        Transformer layers, the paper's two by default.
    heads : int, optional
        Must divide `n_rois`. Default: the largest divisor up to the paper's four.
    feedforward : int
        Hidden width of a layer's perceptron.
    n_clusters : int
        Centres of the readout; `n_rois` at most.
    dropout : float
        Dropout of the transformer layers.
    """

    def __init__(
        self,
        n_rois: int,
        n_out: int,
        depth: int = 2,
        heads: int | None = None,
        feedforward: int = 1024,
        n_clusters: int = 10,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        heads = heads or max(h for h in range(1, MAX_HEADS + 1) if n_rois % h == 0)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(n_rois, heads, feedforward, dropout, batch_first=True)
            for _ in range(depth)
        )
        n_clusters = min(n_clusters, n_rois)
        self.readout = ClusterReadout(n_rois, n_clusters)
        self.reduction = nn.Sequential(nn.Linear(n_rois, 8), nn.LeakyReLU())
        self.head = nn.Sequential(
            nn.Linear(8 * n_clusters, 256),
            nn.LeakyReLU(),
            nn.Linear(256, 32),
            nn.LeakyReLU(),
            nn.Linear(32, n_out),
        )

    def forward(self, fc: Tensor) -> Tensor:
        """Logits or predictions of scans.

        Parameters
        ----------
        fc : Tensor (B, n_rois, n_rois)
            Each row is a token.

        Returns
        -------
        Tensor (B, n_out)
        """
        nodes = fc
        for layer in self.layers:
            nodes = layer(nodes)  # (B, n, n)
        graph = self.readout(nodes)  # (B, n_clusters, n)
        return self.head(self.reduction(graph).flatten(1))
