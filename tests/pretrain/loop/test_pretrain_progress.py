"""What is shown during training, and the fraction of the peak."""

from __future__ import annotations

import itertools
import logging
import math
import re
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from brainmass_core.encoders.brainmass.card import flops_per_sample
from brainmass_core.pretrain.data.views import index_shards
from brainmass_core.pretrain.loop import progress
from brainmass_core.pretrain.loop.checkpoint import Checkpoints
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.train import build_model, train
from brainmass_core.tables import HISTORY

CPU = torch.device("cpu")
ALONE = Ranks(0, 1, 1, CPU)


@pytest.fixture
def trained_by_the_clock(make_study, monkeypatch, caplog):
    """A study that is trained with steps of half a second and a peak of one gigaflop per second."""
    study = make_study()
    times = itertools.count(0.0, 0.5)  # one reading before the first step, one per step
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)
    monkeypatch.setattr(progress, "peak_flops", lambda *_: 1e9)
    checkpoints = Checkpoints(study.config, "x")
    with caplog.at_level(logging.INFO):
        train(study.config, index_shards(study.config), checkpoints, ALONE, lambda: False)
    events = EventAccumulator(str(checkpoints.folder / "tensorboard")).Reload()
    return study, events, caplog.text


def test_samples_per_second_and_share_of_the_peak_follow_from_the_time_of_a_step(
    trained_by_the_clock,
):
    study, events, text = trained_by_the_clock
    rates = [e.value for e in events.Scalars("samples_per_second")]
    assert rates == pytest.approx([8 / 0.5] * 6)
    operations = flops_per_sample(build_model(study.config, 20), study.config) * 8
    expected = operations / 0.5 / 1e9
    shares = [e.value for e in events.Scalars("share_of_peak")]
    assert shares == pytest.approx([expected] * 6, rel=1e-6)
    assert text.count(f"16.0 samples/s, {100 * expected:.1f} % of the peak") == 6


def test_the_log_shows_losses_learning_rate_and_the_time_left(trained_by_the_clock):
    _, events, text = trained_by_the_clock
    assert "step 1/6 epoch 0 lr 0.00015 loss" in text
    left = [float(v) for v in re.findall(r"([\d.]+) s left", text)]
    assert left == pytest.approx([2.5, 2, 1.5, 1, 0.5, 0], abs=0.5)
    assert {"loss", "lr", "effective_rank", "uniformity"} <= set(events.Tags()["scalars"])


def test_the_peak_is_that_of_the_fastest_product_and_leaves_the_generator_alone(monkeypatch):
    clock = itertools.accumulate(
        [0, 1.0, 7, 0.25, 7, 0.5]
    )  # three products, and the time between them
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(progress, "PEAK_SECONDS", 1.5)
    monkeypatch.setattr(progress, "PEAK_WIDTH", {"cpu": 64})
    state = torch.random.get_rng_state()
    assert progress.peak_flops("float32", CPU) == 2 * 64**3 / 0.25
    assert next(clock, None) is None, "all three were measured"
    assert torch.equal(state, torch.random.get_rng_state())


def test_other_ranks_measure_and_show_nothing(tmp_path, make_study, monkeypatch):
    monkeypatch.setattr(progress, "peak_flops", lambda *_: pytest.fail("measured"))
    study, second = make_study(), Ranks(1, 2, 2, CPU)
    share = progress.share_of_peak(build_model(study.config, 20), study.config, 20, 8, second)
    assert math.isnan(share)
    progress.Progress(tmp_path / "events", second, 0, 3, 8, HISTORY.names, share).show([0.0] * 11)
    assert not (tmp_path / "events").exists()


def test_two_ranks_have_twice_the_peak(make_study, monkeypatch):
    monkeypatch.setattr(progress, "peak_flops", lambda *_: 1e9)
    study = make_study()
    model = build_model(study.config, 20)
    one, two = (
        progress.share_of_peak(model, study.config, 20, 8, Ranks(0, n, n, CPU)) for n in (1, 2)
    )
    assert one == pytest.approx(2 * two)


@pytest.mark.parametrize("native", [False, True])
def test_bfloat16_that_the_processor_must_emulate_is_said(make_study, monkeypatch, caplog, native):
    monkeypatch.setattr(progress, "peak_flops", lambda *_: 1e9)
    monkeypatch.setattr(progress, "_native_bfloat16", lambda: native)
    study = make_study().changed(precision="bfloat16")
    model = build_model(study.config, 20)
    with caplog.at_level(logging.WARNING):
        progress.share_of_peak(model, study.config, 20, 8, ALONE)
    assert ("set pretrain.precision: float32" in caplog.text) is not native
    assert not progress.emulated("float32", CPU)
    assert not progress.emulated("bfloat16", torch.device("cuda"))
