"""One rank of pre-training.

torchrun starts it: ``-m brainmass_core.pretrain.launch.worker``.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from brainmass_core.config import Config, load_config
from brainmass_core.pipeline.disk import explain
from brainmass_core.pretrain.data.views import index_shards
from brainmass_core.pretrain.launch.torchrun import ERROR_MARK
from brainmass_core.pretrain.loop.checkpoint import Checkpoints
from brainmass_core.pretrain.loop.distributed import Ranks, joined
from brainmass_core.pretrain.loop.train import Interrupted, train

log = logging.getLogger(__name__)
STOPPED = 128 + signal.SIGTERM


class StopRequest:
    """Record that this process was asked to stop; the loop checks it once per step."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        self.asked = True

    def __call__(self) -> bool:
        """Whether a signal was received."""
        return self.asked


def main(arguments: list[str] | None = None) -> int:
    """Run the training of this rank; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="configuration file")
    parser.add_argument(
        "--fingerprint", required=True, help="of the input tables, from the launcher"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    stop = StopRequest()
    try:
        _train(load_config(options.config, check_paths=False), options.fingerprint, stop)
    except Interrupted as stopped:
        log.warning("%s", stopped)
        return STOPPED
    except OSError as error:
        print(f"{ERROR_MARK}{explain(error)}", file=sys.stderr, flush=True)
        return 1
    except ValueError as error:
        print(f"{ERROR_MARK}{error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _train(config: Config, fingerprint: str, stop: StopRequest) -> None:
    index = index_shards(config, with_fingerprint=False)
    checkpoints = Checkpoints(config, fingerprint)
    with joined() as ranks:
        _make_reproducible(config, ranks)
        with _exclusive(checkpoints) if ranks.rank == 0 else nullcontext():
            train(config, index, checkpoints, ranks, stop)


def _make_reproducible(config: Config, ranks: Ranks) -> None:
    """Set the number of threads from the configuration, because it affects the order of sums.

    Denormal numbers (below 1e-38) are flushed to 0: attention over coordinates in mm produces many
    of them, and they slow some processors down many times. Threads started later inherit this
    setting.
    """
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(max(1, config.stage_resources("pretrain").cpus_per_task // ranks.n_local))


def _exclusive(checkpoints: Checkpoints) -> FileLock:
    """Lock the work folder as long as this process runs."""
    checkpoints.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(checkpoints.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"{checkpoints.work}: another process is training there; wait until it ends"
        ) from None
    return lock


if __name__ == "__main__":
    sys.exit(main())
