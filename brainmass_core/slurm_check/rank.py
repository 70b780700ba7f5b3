"""One process of a trial job: join the others and report what this node sees.

torchrun starts it: ``-m brainmass_core.slurm_check.rank FOLDER``.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from brainmass_core import __version__
from brainmass_core.slurm_check.trial import TOKEN
from brainmass_core.tables import atomic_path

JOIN_SECONDS = 180


def report(folder: Path) -> dict[str, Any]:
    """Join the other processes and describe this one.

    Returns
    -------
    dict
        ``rank``; ``node``; ``token``, read in `folder`; ``python`` and ``version`` of the
        environment; ``torch`` and ``gpus``, how many it sees; ``sum`` of 1 to the number of
        processes, added over all of them; ``seconds`` to join.
    """
    began = time.monotonic()
    dist.init_process_group("gloo", timeout=timedelta(seconds=JOIN_SECONDS))
    total = torch.tensor([dist.get_rank() + 1])
    dist.all_reduce(total)
    seconds = time.monotonic() - began
    rank = dist.get_rank()
    dist.destroy_process_group()
    return {
        "rank": rank,
        "node": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "token": (folder / TOKEN).read_text(),
        "python": sys.executable,
        "version": __version__,
        "torch": torch.__version__,
        "gpus": torch.cuda.device_count(),
        "sum": int(total),
        "seconds": seconds,
    }


if __name__ == "__main__":
    target = Path(sys.argv[1])
    found = report(target)
    with atomic_path(target / f"rank-{found['rank']}.json") as file:
        file.write_text(json.dumps(found))
