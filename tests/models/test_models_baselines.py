"""BrainNetCNN and the Brain Network Transformer, compared with their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainmass_core.models.baselines import (
    BrainNetCNN,
    BrainNetworkTransformer,
    ClusterReadout,
    EdgeToEdge,
    EdgeToNode,
)

N = 12


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def fc_of(n_scans: int, n_rois: int = N) -> torch.Tensor:
    series = np.random.default_rng(1).standard_normal((n_scans, 40, n_rois))
    return torch.from_numpy(np.stack([np.corrcoef(s.T) for s in series])).float()


def count(model) -> int:
    return sum(p.numel() for p in model.parameters())


def test_edge_to_edge_is_the_explicit_sum_over_row_and_column():
    a = torch.randn(2, 3, 5, 5)  # not symmetric: row and column differ
    layer = EdgeToEdge(3, 4, 5)
    row, column = layer.row.weight[:, :, 0, :], layer.column.weight[..., 0]  # (4, 3, 5)
    out = layer(a)
    assert out.shape == (2, 4, 5, 5)
    for b, m, i, j in np.ndindex(2, 4, 5, 5):
        expected = layer.row.bias[m]
        for c in range(3):
            for k in range(5):
                expected = expected + row[m, c, k] * a[b, c, i, k] + column[m, c, k] * a[b, c, k, j]
        torch.testing.assert_close(out[b, m, i, j], expected)


def test_edge_to_node_is_the_explicit_sum_over_row_and_column():
    a = torch.randn(2, 3, 5, 5)
    layer = EdgeToNode(3, 4, 5)
    row, column = layer.row.weight[:, :, 0, :], layer.column.weight[..., 0]
    out = layer(a)
    assert out.shape == (2, 4, 5)
    for b, m, i in np.ndindex(2, 4, 5):
        expected = layer.row.bias[m]
        for c in range(3):
            expected = expected + row[m, c] @ a[b, c, i] + column[m, c] @ a[b, c, :, i]
        torch.testing.assert_close(out[b, m, i], expected)


def test_edge_to_node_is_the_diagonal_of_edge_to_edge():
    a = torch.randn(2, 3, 5, 5)
    node, edge = EdgeToNode(3, 4, 5), EdgeToEdge(3, 4, 5)
    edge.load_state_dict(node.state_dict())
    torch.testing.assert_close(node(a), edge(a).diagonal(dim1=2, dim2=3))


def test_rois_in_another_order_with_filters_in_that_order_leave_brainnetcnn_as_it_is():
    fc, order = fc_of(3), torch.randperm(N)
    model = BrainNetCNN(N, 2, edge_maps=4, node_maps=6, graph_units=8).eval()
    before = model(fc)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("row.weight"):
                p.copy_(p[..., order])
            elif name.endswith("column.weight"):
                p.copy_(p[:, :, order])
            elif name == "graph.0.weight":
                p.copy_(p[..., order])
    torch.testing.assert_close(model(fc[:, order][:, :, order]), before)
    assert not torch.allclose(model(fc), before, atol=1e-4)


def test_tokens_in_another_order_leave_the_transformer_as_it_is():
    fc, order = fc_of(3), torch.randperm(N)
    model = BrainNetworkTransformer(N, 2).eval()
    torch.testing.assert_close(model(fc[:, order]), model(fc), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(model(fc[:, :, order]), model(fc), atol=1e-4)


def test_transformer_layers_are_equivariant_to_the_order_of_tokens():
    fc, order = fc_of(3), torch.randperm(N)
    layer = BrainNetworkTransformer(N, 2).layers[0].eval()
    torch.testing.assert_close(layer(fc[:, order]), layer(fc)[:, order], rtol=1e-4, atol=1e-6)


def test_cluster_centres_are_orthonormal_and_training_leaves_them_so():
    model = BrainNetworkTransformer(N, 2, n_clusters=7)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        model(fc_of(4)).square().sum().backward()
        optimizer.step()
    centres = model.readout.centres
    torch.testing.assert_close(centres @ centres.T, torch.eye(7), atol=1e-6, rtol=0)


def test_every_node_is_shared_out_over_the_clusters():
    nodes = torch.randn(2, 9, 6)
    readout = ClusterReadout(6, 4)
    torch.testing.assert_close(readout(nodes).sum(dim=1), nodes.sum(dim=1))
    # a node far along one centre is assigned to it alone
    far = 1000 * readout.centres[2].expand(1, 3, 6)
    out = readout(far)
    torch.testing.assert_close(out[0, 2], far.sum(dim=1)[0])
    torch.testing.assert_close(out[0, [0, 1, 3]], torch.zeros(3, 6))


def test_more_clusters_than_features_are_refused():
    with pytest.raises(ValueError, match="found 7 clusters of nodes with 6 features"):
        ClusterReadout(6, 7)


def test_parameters_of_brainnetcnn_are_those_counted_by_hand():
    n, e, v, g = 100, 32, 64, 256
    edges = (2 * n * e + e) + (2 * n * e * e + e)
    nodes = 2 * n * e * v + v
    graph = n * v * g + g
    head = (g * 128 + 128) + (128 * 30 + 30) + (30 * 3 + 3)
    assert count(BrainNetCNN(n, 3)) == edges + nodes + graph + head


def test_parameters_of_the_transformer_are_those_counted_by_hand():
    n, f, k = 100, 1024, 10
    layer = 4 * n * n + 4 * n + 2 * n * f + f + n + 4 * n  # attention, perceptron, two norms
    head = (n * 8 + 8) + (8 * k * 256 + 256) + (256 * 32 + 32) + (32 * 3 + 3)
    assert count(BrainNetworkTransformer(n, 3)) == 2 * layer + head
