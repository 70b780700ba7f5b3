"""Small parts of a step: dropout per rank, clipping of gradients, batch norm's statistics."""

import pytest
import torch
from torch import nn

from brainmass_core.config.sections import Pretrain
from brainmass_core.pretrain.data.index import _allowed
from brainmass_core.pretrain.loop import distributed, step
from brainmass_core.pretrain.loop.distributed import GlobalBatchNorm1d, Ranks
from brainmass_core.pretrain.loop.step import seed_dropout, train_step
from brainmass_core.tables import SCANS, from_rows, write_table

ALONE = Ranks(0, 1, 1, torch.device("cpu"))


def test_steps_and_ranks_drop_other_units_and_a_repeated_step_the_same():
    def drawn(*of):
        with torch.random.fork_rng(devices=[]):
            seed_dropout(*of)
            return tuple(torch.rand(4).tolist())

    assert drawn(1, 5, 0) == drawn(1, 5, 0)
    assert len({drawn(1, 5, 0), drawn(1, 5, 1), drawn(1, 6, 0), drawn(2, 5, 0)}) == 4


def test_every_value_of_the_gradient_is_clipped_by_itself(monkeypatch):
    class ModelSpec:
        parts = ()
        after_step = staticmethod(lambda model, settings: None)
        views = staticmethod(lambda embedding: embedding)

    model = nn.Linear(3, 1, bias=False)
    weight = model.weight.detach().clone()
    slopes = torch.tensor([5.0, -0.25, -7.0])
    total = (model.weight * slopes).sum()
    monkeypatch.setattr(step, "model_spec_of", lambda settings: ModelSpec)
    monkeypatch.setattr(step, "losses_of", lambda *_: (total, {"embedding": torch.zeros(1, 2, 2)}))
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    train_step(model, model, optimiser, None, Pretrain(clip_value=0.5), ALONE, False)
    expected = weight - slopes.clamp(-0.5, 0.5)
    torch.testing.assert_close(model.weight.detach(), expected)


def test_batch_norm_over_ranks_is_that_of_all_rows_at_once(monkeypatch):
    """Two ranks with the same rows: every sum over ranks is twice that of one."""
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed._SumOverRanks, "apply", lambda x, group: 2 * x)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    shared, whole = GlobalBatchNorm1d(3), nn.BatchNorm1d(3)
    shared.group = object()
    found, expected = shared(x), whole(torch.cat([x, x]))[:5]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(shared.running_mean, whole.running_mean)
    torch.testing.assert_close(shared.running_var, whole.running_var)


@pytest.mark.parametrize("order", [1, -1])
def test_no_scan_of_a_participant_who_is_evaluated_is_free_for_pre_training(tmp_path, order):
    rows = [
        {"scan_id": "a1", "participant_id": "a", "split": "train"},
        {"scan_id": "a2", "participant_id": "a", "split": "test"},
        {"scan_id": "b1", "participant_id": "b", "split": "train"},
        {"scan_id": "c1", "participant_id": "c", "split": "pretrain"},
        {"scan_id": "d1", "participant_id": "d", "split": None},
    ]
    path = tmp_path / "scans.parquet"
    write_table(path, from_rows(rows[::order], SCANS), "scans")
    assert _allowed(path) == {"b1": "b", "c1": "c"}
