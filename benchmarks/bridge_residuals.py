"""Whether templates disagree about a head for the bridge's fault, or for the registration's.

Points of the atlas go over the bridge to another template, from there to a head, and from the head
back to the atlas's space by the head's registration to FSL's template. Exact ones would bring each
point back to where it was. What is left of a parcel is a vector in the atlas's space: a wrong
bridge (or templates whose anatomy differs) gives every head the same one, a registration gives each
head another. With two heads, the mean product of their vectors is the mean square of the common
part.

Registrations are those that `greedy_schedules.py` and `anatomy_reproducibility.py` keep; each head
is the path of its files with ``{space}`` in the place of the space. Run:
``python benchmarks/bridge_residuals.py SCHAEFER 'kept/ch2.{space}.embedded.SyN.npz' ...``
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import nibabel as nib
import numpy as np
import typer

from brainmass_core.preprocess.anatomical.registration import t1w_to_template
from brainmass_core.preprocess.transform_files import load_normalisation
from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C
from brainmass_core.spaces.bridges import bridge


def left(pattern: str, space: str, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean vector (n_rois, 3), mm, by which points of each parcel miss themselves."""
    own, other = (load_normalisation(Path(pattern.format(space=s))) for s in (FSL, space))
    there = other.template_to_t1w(bridge(FSL, space)(points))
    missed = t1w_to_template(there, own) - points
    sums = np.stack([np.bincount(labels, missed[:, k])[1:] for k in range(3)], axis=-1)
    return sums / np.bincount(labels)[1:, None]


def main(
    atlas: Annotated[Path, typer.Argument(help=f"Label image in {FSL}.")],
    heads: Annotated[list[str], typer.Argument(help="Two patterns of files.")],
) -> None:
    """Print, for both templates, mean squares of the whole and of the common part, mm²."""
    image = nib.Nifti1Image.from_filename(atlas)
    data = np.asarray(image.dataobj).astype(int)
    points = nib.affines.apply_affine(image.affine, np.argwhere(data > 0))
    for space in (ICBM_2009A, ICBM_2009C):
        one, other = (left(head, space, points, data[data > 0]) for head in heads)
        lengths = [np.linalg.norm(v, axis=1) for v in (one, other)]
        square = [float((length**2).mean()) for length in lengths]
        common = float((one * other).sum(axis=1).mean())
        r = np.corrcoef(*lengths)[0, 1]
        print(
            f"{space:20} mean square {square[0]:.2f} and {square[1]:.2f}, common {common:.2f} "
            f"({common / np.sqrt(square[0] * square[1]):.2f} of them); lengths correlate {r:.2f}"
        )
        worst = np.argsort(-(lengths[0] + lengths[1]))[:8]
        for k in worst:
            print(f"    parcel {k + 1:3} {np.round(one[k], 1)} {np.round(other[k], 1)}")


if __name__ == "__main__":
    typer.run(main)
