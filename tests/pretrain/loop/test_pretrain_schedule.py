"""The learning rate, compared with torch's schedulers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR

from brainmass_core.config.sections import Pretrain
from brainmass_core.pretrain.loop.schedule import learning_rate


def rates(settings: Pretrain) -> list[float]:
    return [learning_rate(e, settings) for e in range(settings.epochs)]


def rates_of_torch(s: Pretrain) -> list[float]:
    """Warm-up to its last epoch, then `schedule` to the last epoch."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=s.lr)
    left = max(1, s.epochs - s.warmup_epochs)
    after = {
        "constant": lambda: ConstantLR(optimiser, factor=1.0),
        "cosine": lambda: CosineAnnealingLR(optimiser, left, eta_min=s.lr_end),
        "linear": lambda: LinearLR(optimiser, 1.0, s.lr_end / s.lr, total_iters=left),
    }[s.schedule]()
    scheduler = after
    if s.warmup_epochs > 1:
        warmup = LinearLR(optimiser, 1 / s.warmup_epochs, 1.0, total_iters=s.warmup_epochs - 1)
        scheduler = SequentialLR(optimiser, [warmup, after], milestones=[s.warmup_epochs - 1])
    found = []
    for _ in range(s.epochs):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
@pytest.mark.parametrize(("epochs", "warmup"), [(30, 10), (12, 1), (7, 6), (40, 25)])
@pytest.mark.parametrize("lr_end", [0.0, 2e-5])
@pytest.mark.filterwarnings("ignore:The epoch parameter in")
def test_every_schedule_is_that_of_torch(schedule, epochs, warmup, lr_end):
    s = Pretrain(epochs=epochs, warmup_epochs=warmup, schedule=schedule, lr_end=lr_end)
    assert rates(s) == pytest.approx(rates_of_torch(s), rel=1e-9, abs=1e-15)


def test_by_default_the_rate_warms_up_from_3e_5_to_3e_4_and_stays():
    found = rates(Pretrain(epochs=30))
    assert found[0] == pytest.approx(3e-5)
    assert found[9:] == pytest.approx([3e-4] * 21)
    assert np.diff(found[:10]) == pytest.approx(3e-5)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_falling_schedule_ends_at_lr_end_in_the_last_epoch(schedule):
    found = rates(Pretrain(epochs=30, schedule=schedule, lr_end=1e-5))
    assert found[9] == pytest.approx(3e-4)
    assert (np.diff(found[9:]) < 0).all()
    assert found[-1] == pytest.approx(1e-5)


def test_a_schedule_without_room_to_fall_is_refused():
    with pytest.raises(ValidationError, match=r"epochs 10 and warmup_epochs 10: no epoch remains"):
        Pretrain(epochs=10, warmup_epochs=10, schedule="cosine")
    with pytest.raises(ValidationError, match=r"lr_end 0\.001 above lr 0\.0003"):
        Pretrain(schedule="linear", lr_end=1e-3)
    Pretrain(epochs=10, warmup_epochs=10, lr_end=1e-3)  # a constant rate does not use it
