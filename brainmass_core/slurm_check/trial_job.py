"""The batch script of a trial job: torchrun over its nodes.

sbatch starts it: ``-m brainmass_core.slurm_check.trial_job FOLDER N_NODES``.
"""

from __future__ import annotations

import subprocess
import sys

from brainmass_core.pretrain.launch.slurm_nodes import TORCHRUN, over_nodes, slurm_head


def command(folder: str, n_nodes: int) -> list[str]:
    """The command line, as a list, that starts one process on each node of this job."""
    worker = ["-m", "brainmass_core.slurm_check.rank", folder]
    head = slurm_head(n_nodes)
    if head is None:
        return [*TORCHRUN, "--standalone", "--nproc-per-node=1", *worker]
    return over_nodes(head, n_nodes, 1, 1, worker)


if __name__ == "__main__":
    sys.exit(subprocess.run(command(sys.argv[1], int(sys.argv[2]))).returncode)
