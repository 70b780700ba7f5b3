"""The same bytes whether numba has just compiled a function or reads it from its cache."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import hashlib, numpy as np, torch
from brainmass_core.models import fused
from brainmass_core.pfc import pseudo_fc

def digest(*arrays):
    print(hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest())

rng = np.random.default_rng(0)
series = [rng.standard_normal((80 + i, 20)).cumsum(0).astype(np.float32) for i in range(20)]
for estimator in ("pearson", "ledoit_wolf"):
    for drop_rate in (0.2, 0.7):
        digest(*(pseudo_fc(x, 8, drop_rate, seed=1, estimator=estimator) for x in series))
torch.manual_seed(0)
torch.set_num_threads(1)
q, k, v = (torch.randn(4, 100, 100, requires_grad=True) for _ in range(3))
out = fused.attention(q, k, v, 20, 0.1)
out.square().sum().backward()
digest(*(t.detach().numpy() for t in (out, q.grad, k.grad, v.grad)))
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_what_was_just_compiled_computes_as_what_is_read_from_the_cache(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", CODE]
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert list((tmp_path / "cache").rglob("*.nbc"))
    assert len(first.split()) == 5
    assert first == second
