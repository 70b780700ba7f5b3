"""deepbet in process: the brain of a whole head by two small networks on the CPU.

Its weights are TorchScript files of the package; nothing is fetched. They are loaded for every
scan: TorchScript may compute another way once it has seen a few, and 0.1 s buy the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.grids import Volume

if TYPE_CHECKING:
    from brainmass_core.preprocess.anatomical.template import Template


def brain_extraction(head: Volume, template: Template) -> np.ndarray:
    """Brain mask (x, y, z) of bool.

    Parameters
    ----------
    head : Volume (x, y, z)
        T1w as it was scanned, in any orientation; finite. Voxels of 1 mm show the rim best.
    template : Template
        Not looked at.

    Raises
    ------
    ScanFailed
        If no brain is found.
    """
    with _one_thread():
        from deepbet import BrainExtraction

        image = nib.Nifti1Image(np.asarray(head.data, dtype=np.float32), head.affine)
        try:
            _, found, _ = BrainExtraction(no_gpu=True).run(image)
        except (AssertionError, ValueError) as error:  # what it raises where nothing is left
            raise ScanFailed(
                f"deepbet found no brain ({error}), expected a T1w of the whole head",
                "brain_extraction",
                "look at the T1w with a viewer, or choose another "
                "preprocess.engines.brain_extraction",
            ) from None
    return np.asarray(found.dataobj) > 0


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch with one thread, as every scan has; sums of several differ in the last bits."""
    import torch  # takes seconds: only jobs that need it

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict)
        torch.set_num_threads(threads)
