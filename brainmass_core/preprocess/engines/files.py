"""Run one program of another package with images in a temporary folder.

nipype builds the command and checks its inputs, without workflow and cache.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("NIPYPE_NO_ET", "1")  # disables nipype's online check for new versions

import nibabel as nib
import nipype
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from scipy.ndimage import map_coordinates

from brainmass_core.pipeline.manifest import ScanFailed
from brainmass_core.preprocess.grids import Volume

# would run `ldd` for each call, without use
nipype.config.set("execution", "get_linked_libs", "false")

ENVIRON = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    "FSLOUTPUTTYPE": "NIFTI_GZ",
    "ANTS_RANDOM_SEED": "1",
    "AFNI_DONT_LOGFILE": "YES",  # otherwise AFNI writes a log to the home folder
    "AFNI_VERSION_CHECK": "NO",
}
SHEAR = 1e-3  # cosine between voxel axes above which they are not at right angles
TAIL = 600  # number of characters of the program's messages that are shown


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder for the files of one step, which is always removed."""
    with tempfile.TemporaryDirectory(prefix="brainmass-engine-") as folder:
        yield Path(folder).resolve()


def run_program(interface: Any, folder: Path, step: str) -> Any:
    """Run one nipype interface in a folder.

    Parameters
    ----------
    interface : nipype CommandLine
    folder : Path
    step : str
        For messages.

    Returns
    -------
    nipype outputs
        Paths of the outputs.

    Raises
    ------
    ScanFailed
        If the program is missing, ends with an error, or does not write its outputs; with the end
        of its messages.
    """
    interface.terminal_output = "file_split"
    interface.inputs.environ.update(ENVIRON | {"TMPDIR": str(folder)})
    result = interface.run(cwd=str(folder), ignore_exception=True)
    code = result.runtime.returncode
    if result.outputs is None or code != 0:
        program = interface.cmd.split()[0]
        ended = "could not be run" if code is None else f"ended with code {code}"
        raise ScanFailed(
            f"{program} {ended}, expected it to finish: {_messages(result.runtime, folder)}",
            step,
            f"check the scan in a viewer, or set preprocess.engines.{step} to embedded",
        )
    return result.outputs


def _messages(runtime: Any, folder: Path) -> str:
    """The end of a program's messages, or else of nipype's."""
    said = (getattr(runtime, "stderr", "") or "").strip()
    said = said or (getattr(runtime, "stdout", "") or "").strip()
    if runtime.returncode in (None, 0):  # it was not started, or an output is missing
        said = f"{said}\n{getattr(runtime, 'traceback_args', ('',))[0]}".strip()
    text = said.replace(f"{folder}/", "")  # the name of the folder differs between runs
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())[-TAIL:]


def write(
    path: Path, data: np.ndarray, affine: np.ndarray, step: str, t_r: float | None = None
) -> Path:
    """Write NIfTI with sform and qform, uncompressed because it is read only once.

    Parameters
    ----------
    data : ndarray (x, y, z) or (x, y, z, n_volumes)
        Written as uint8 if bool, otherwise as float32.
    affine : ndarray (4, 4)
        Voxel to mm.
    step : str
        For messages.
    t_r : float, optional
        Repetition time in s.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ScanFailed
        If the voxel axes are not at right angles, which these programs do not support.
    """
    axes = affine[:3, :3] / voxel_sizes(affine)
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR:
        raise ScanFailed(
            f"found voxel axes that are not at right angles (affine {affine.tolist()}), expected "
            "right angles: FSL, AFNI and ANTs support no others",
            step,
            f"set preprocess.engines.{step} to embedded",
        )
    kind = np.uint8 if data.dtype == bool else np.float32
    image = nib.Nifti1Image(np.asarray(data, dtype=kind), affine)
    image.header.set_xyzt_units("mm", "sec")
    if t_r is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], t_r))
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, path)
    return path


def read(path: str | Path, shape: tuple[int, ...], step: str) -> np.ndarray:
    """Read the voxels of an image with a known shape.

    Parameters
    ----------
    shape : tuple of int
    step : str
        For messages.

    Returns
    -------
    ndarray of `shape`, float32

    Raises
    ------
    ScanFailed
        If it has another shape or non-finite values.
    """
    image: Any = nib.load(path)
    data = np.asarray(image.dataobj, dtype=np.float32)
    if data.shape != shape:
        raise ScanFailed(
            f"{Path(path).name}: found shape {data.shape}, expected {shape}",
            step,
            f"set preprocess.engines.{step} to embedded",
        )
    if not np.isfinite(data).all():
        raise ScanFailed(
            f"{Path(path).name}: found values that are not finite, expected numbers",
            step,
            f"check the scan in a viewer, or set preprocess.engines.{step} to embedded",
        )
    return data


def read_mask(path: str | Path, like: Volume, step: str) -> np.ndarray:
    """Read a mask on the grid of an image; some programs write another grid.

    Parameters
    ----------
    like : Volume (x, y, z)
    step : str
        For messages.

    Returns
    -------
    ndarray (x, y, z) of bool
        By nearest neighbour if the grids differ.

    Raises
    ------
    ScanFailed
        If it is empty.
    """
    image: Any = nib.load(path)
    data = np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])
    if data.shape != like.data.shape or not np.allclose(image.affine, like.affine, atol=1e-2):
        voxels = apply_affine(np.linalg.inv(image.affine), like.points()).T
        data = map_coordinates(data, voxels, order=0).reshape(like.data.shape)
    if not (data > 0).any():
        raise ScanFailed(
            f"{Path(path).name}: found no voxel inside the mask, expected a brain",
            step,
            f"check the T1w in a viewer, or set preprocess.engines.{step} to embedded",
        )
    return data > 0
