"""deepbet in process: brain extraction by two small networks on the CPU.

Its weights are TorchScript files of the package; nothing is downloaded. They are loaded for every
scan, which takes 0.1 s: TorchScript may optimise a network after some calls, which would change the
bits.
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
    """Brain mask by deepbet.

    Parameters
    ----------
    head : Volume (x, y, z)
        Original T1w, in any orientation; finite. Best with voxels of 1 mm.
    template : Template
        Not used.

    Returns
    -------
    ndarray (x, y, z) of bool

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
        except (AssertionError, ValueError) as error:  # raised by deepbet if the mask is empty
            raise ScanFailed(
                f"deepbet found no brain ({error}), expected a T1w of the whole head",
                "brain_extraction",
                "check the T1w in a viewer, or choose another preprocess.engines.brain_extraction",
            ) from None
    return np.asarray(found.dataobj) > 0


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use torch with one thread, because sums over several threads differ in the last bits."""
    import torch  # imported late, because it takes seconds

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict)
        torch.set_num_threads(threads)
