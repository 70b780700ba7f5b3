"""Settings of a worker before it trains."""

import pytest
import torch

from brainmass_core.pretrain.launch import worker
from brainmass_core.pretrain.loop.distributed import Ranks


@pytest.fixture
def settings_put_back():
    threads = torch.get_num_threads()
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("settings_put_back")
def test_denormal_numbers_cost_no_time(make_study):
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot take denormal numbers as 0")
    tiny = torch.tensor([1e-30])
    assert (tiny * 1e-10).item() > 0
    worker._make_reproducible(make_study().config, Ranks(0, 1, 1, torch.device("cpu")))
    assert (tiny * 1e-10).item() == 0
    assert torch.are_deterministic_algorithms_enabled()
