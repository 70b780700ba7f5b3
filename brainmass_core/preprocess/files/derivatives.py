"""Output files of a scan: names and writing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.scan_fingerprint import IF_ANY
from brainmass_core.preprocess.anatomical.t1w import Anatomy
from brainmass_core.preprocess.anatomical.template import chosen_template, template_of
from brainmass_core.preprocess.files.itk import save_itk_affines, save_itk_field
from brainmass_core.preprocess.files.provenance import (
    bids_uri,
    write_description,
    write_sidecar,
)
from brainmass_core.preprocess.functional.bold import Bold
from brainmass_core.preprocess.functional.bold_series import Series, quantised, save_series
from brainmass_core.preprocess.functional.confound_columns import describe_columns
from brainmass_core.preprocess.functional.confounds import save_confounds
from brainmass_core.preprocess.functional.head import Moved
from brainmass_core.preprocess.functional.motion import resample_volume
from brainmass_core.preprocess.functional.nuisance import Nuisance
from brainmass_core.preprocess.functional.placement import Placement
from brainmass_core.preprocess.grids import Volume, isotropic_grid, save_image
from brainmass_core.preprocess.quality_control.carpet import save_carpet
from brainmass_core.preprocess.transform_files import save_affine, save_distortion, save_motion
from brainmass_core.preprocess.transforms import ScanTransforms

# sidecars that apply to all files of that name (BIDS inheritance); `minimal` has no others
SHARED: dict[str, dict[str, Any]] = {
    "desc-preproc_T1w.json": {
        "Description": "Bias-corrected, resampled to cubes, cropped around the brain",
        "SkullStripped": False,
        "SpatialReference": "orig",
    },
    "desc-brain_mask.json": {"Description": "Brain", "Type": "Brain", "SpatialReference": "orig"},
    "desc-tissue_dseg.json": {
        "Description": "0 outside the brain, 1 grey matter, 2 white matter, 3 CSF",
        "SpatialReference": "orig",
    },
}


@dataclass(frozen=True)
class PreprocessInput:
    """Input of a worker: one scan.

    Attributes
    ----------
    scan : dict
        Its row of the scans table.
    settings : Preprocess
    derivatives : Path
        Folder of the data set's derivatives.
    results : Path
        Folder to which the paths in the table are relative.
    key : str
        Hash of the configuration.
    steps : Path
        Folder for results of finished steps while the scan is processed.
    fieldmaps : tuple of Path
        Candidate files of its fieldmap.
    template : tuple of Path
        Files of the template and its tissue priors, if they are not packaged.
    """

    scan: dict[str, Any]
    settings: Preprocess
    derivatives: Path
    results: Path
    key: str
    steps: Path
    fieldmaps: tuple[Path, ...] = ()
    template: tuple[Path, ...] = field(default=(), metadata=IF_ANY)


def name_of(item: PreprocessInput, suffix: str) -> Path:
    """Path of a derivative of the run."""
    path = Path(item.scan["bold_path"])
    stem = re.sub(r"(_bold)?\.nii(\.gz)?$", "", path.name)
    places = [item.scan["participant_id"], item.scan["session"]]
    prefixes = ["sub-", "ses-"]
    parts = [p if p.startswith(x) else x + p for p, x in zip(places, prefixes, strict=True) if p]
    return item.derivatives.joinpath(*parts, "func", f"{stem}_{suffix}")


def describe(folder: Path, name: str, raw: Path, settings: Preprocess) -> None:
    """Write the description of a data set's derivatives, at the start of each batch.

    Parameters
    ----------
    folder : Path
        Root of the derivatives.
    name : str
        Name of the data set.
    raw : Path
        Folder of the raw data.
    """
    plain = settings.model_dump(mode="json")
    write_description(folder, name, {"raw": str(raw)}, plain)
    if settings.derivatives == "minimal":  # with `full`, each file has its own sidecar
        for file, about in SHARED.items():
            write_sidecar(folder / file, about)


def write_derivatives(
    item: PreprocessInput,
    moved: Moved,
    placed: Placement,
    anatomy: Anatomy,
    noise: Nuisance,
    columns: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Path]:
    """Write the estimates, according to ``preprocess.derivatives``.

    Parameters
    ----------
    columns : dict, optional
        Additional metadata of single confounds, see `describe_columns`.

    Returns
    -------
    dict
        Name and path of every output that later stages read, including the anatomy. `minimal`
        writes only these; `full` adds the reference volume, sidecars and transforms for other
        programs.
    """
    files = {
        "coregistration": name_of(item, "from-T1w_to-boldref_mode-points_xfm.txt"),
        "motion": name_of(item, "from-boldref_to-orig_mode-points_xfm.npy"),
        "confounds": name_of(item, "desc-confounds_timeseries.tsv"),
        "bold_mask": name_of(item, "desc-brain_mask.nii.gz"),
    }
    save_affine(files["coregistration"], placed.found.t1w_to_boldref)
    save_motion(files["motion"], moved.motion)
    save_confounds(files["confounds"], noise.confounds)
    save_image(files["bold_mask"], moved.boldref.with_data(noise.mask.astype(np.uint8)))
    if placed.distortion is not None:
        files["distortion"] = name_of(item, "from-undistorted_to-boldref_mode-points_xfm.npz")
        save_distortion(files["distortion"], placed.distortion)
    if item.settings.derivatives == "full":
        files |= _write_pictured(item, moved, noise)
        write_sidecar(files["confounds"], describe_columns(map(str, noise.confounds), columns))
        _write_itk(item, moved, placed.found.t1w_to_boldref, anatomy)
        _write_sidecars(item, files, anatomy)
    return {**anatomy.files, **files}


def _write_pictured(item: PreprocessInput, moved: Moved, noise: Nuisance) -> dict[str, Path]:
    """Write images for quality pages only."""
    files = {
        "boldref": name_of(item, "desc-hmc_boldref.nii.gz"),
        "tsnr": name_of(item, "stat-tsnr_boldmap.nii.gz"),
        "carpet": name_of(item, "desc-carpet_bold.npz"),
    }
    save_image(files["boldref"], moved.boldref.with_data(_compact(moved.boldref.data)))
    tenths = np.clip(np.rint(10 * noise.tsnr), 0, 32767).astype(np.int16)
    save_image(files["tsnr"], moved.boldref.with_data(tenths), slope=0.1)
    save_carpet(files["carpet"], noise.carpet)
    return files


def _compact(data: np.ndarray) -> np.ndarray:
    """Intensities as int16 if this is precise enough, otherwise as float32 rounded to 12 bits."""
    largest = float(np.abs(data).max())
    if largest > 100:
        return np.clip(np.rint(data), -32768, 32767).astype(np.int16)
    step = 2.0 ** np.floor(np.log2(largest / 4096)) if largest > 0 else 1.0
    return (np.rint(data / step) * step).astype(np.float32)


def _write_itk(
    item: PreprocessInput, moved: Moved, t1w_to_boldref: np.ndarray, anatomy: Anatomy
) -> None:
    """The same transforms for other programs."""
    to_t1w = "from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt"
    to_bold = "from-T1w_to-boldref_mode-image_desc-coreg_xfm.txt"
    hmc = "from-orig_to-boldref_mode-image_desc-hmc_xfm.txt"
    save_itk_affines(name_of(item, to_t1w), t1w_to_boldref[None])
    save_itk_affines(name_of(item, to_bold), np.linalg.inv(t1w_to_boldref)[None])
    save_itk_affines(name_of(item, hmc), moved.motion)
    space = chosen_template(item.settings).space
    ours = anatomy.files["normalisation"]
    name = re.sub(r"_from-.*", f"_from-T1w_to-{space}_mode-image_xfm.nii.gz", ours.name)
    path = ours.with_name(name)
    save_itk_field(path, anatomy.normalisation)
    about = {
        "Description": "Displacement field of ITK (mm, LPS): points of the template to points of "
        "the T1w, affine part included",
        "Sources": _sources(item.scan["t1w_path"]),
    }
    write_sidecar(path, about)


def _sources(*raw: str | None) -> list[str]:
    return [bids_uri(p, "raw") for p in raw if p]


def _write_sidecars(item: PreprocessInput, files: dict[str, Path], anatomy: Anatomy) -> None:
    """Write JSON sidecars of the images, without replacing those of the anatomy."""
    raw, t1w = item.scan["bold_path"], item.scan["t1w_path"]
    reference = bids_uri(files["boldref"])
    about_mask = {
        "Description": "Brain, where the reference volume has signal",
        "Type": "Brain",
        "SpatialReference": reference,
        "Sources": [*_sources(raw, t1w), reference],
    }
    write_sidecar(files["bold_mask"], about_mask)
    about_reference = {
        "Description": "Median of realigned volumes; head motion was estimated against it",
        "SkullStripped": False,
        "SpatialReference": "orig",
        "Sources": _sources(raw),
    }
    write_sidecar(files["boldref"], about_reference)
    about_tsnr = {
        "Description": "Temporal signal-to-noise ratio after linear detrending, in the brain",
        "SpatialReference": reference,
        "Sources": _sources(raw),
    }
    write_sidecar(files["tsnr"], about_tsnr)
    for path in anatomy.files.values():
        sidecar = path.with_name(re.sub(r"\.nii(\.gz)?$", ".json", path.name))
        if path.name.endswith((".nii", ".nii.gz")) and not sidecar.exists():
            write_sidecar(path, _about_anatomical(path.name, t1w))


def _about_anatomical(name: str, t1w: str | None) -> dict[str, Any]:
    """The sidecar of an anatomical image, by its suffix."""
    own: dict[str, Any] = {}
    if name.endswith("_T1w.nii.gz"):
        own = SHARED["desc-preproc_T1w.json"]
    elif name.endswith("_mask.nii.gz"):
        own = SHARED["desc-brain_mask.json"]
    elif name.endswith("_dseg.nii.gz"):
        own = SHARED["desc-tissue_dseg.json"] | {"Manual": False}
    elif label := re.search(r"_label-([A-Za-z]+)_probseg\.nii", name):
        own = {"Description": f"Probability of {label[1]}", "SpatialReference": "orig"}
    return own | {"Sources": _sources(t1w)}


def write_bold(item: PreprocessInput, bold: Bold, moved: Moved) -> Path:
    """Write the realigned run on its own grid, volume by volume.

    Parameters
    ----------
    bold : Bold
        Without dummy volumes, and with slice timing corrected if configured.

    Returns
    -------
    Path
    """
    path = name_of(item, "desc-preproc_bold.nii.gz")
    volumes = (
        resample_volume(bold.data[..., t], bold.affine, motion)
        for t, motion in enumerate(moved.motion)
    )
    scale = quantised(bold.data, moved.epi_mask)
    save_series(path, volumes, bold.data.shape, bold.affine, item.scan["t_r"], scale)
    _write_bold_sidecar(item, path)
    return path


def write_template_bold(
    item: PreprocessInput, bold: Bold, transforms: ScanTransforms, boldref: Volume, mask: np.ndarray
) -> dict[str, Path]:
    """Write the run in template space: every volume interpolated once (cubic), from the raw data.

    Parameters
    ----------
    bold : Bold
        Without dummy volumes, and with slice timing corrected if configured.
    transforms : ScanTransforms
    boldref : Volume (x, y, z)
        Reference volume.
    mask : ndarray (x, y, z) of bool
        Brain on the grid of the reference volume.

    Returns
    -------
    dict
        ``bold_template``, ``bold_mask_template`` and ``boldref_template``: paths. Voxels are
        isotropic with ``preprocess.bold_resolution`` mm; outside the field of view they are 0.
    """
    settings = item.settings
    brain, chosen = template_of(settings).brain, chosen_template(settings)
    shape, affine = isotropic_grid(brain.data.shape, brain.affine, settings.bold_resolution)
    target = Series(shape, affine, transforms)
    start = f"space-{chosen.space}_"
    files = {
        "bold_template": name_of(item, f"{start}desc-preproc_bold.nii.gz"),
        "bold_mask_template": name_of(item, f"{start}desc-brain_mask.nii.gz"),
        "boldref_template": name_of(item, f"{start}boldref.nii.gz"),
    }
    scale = quantised(bold.data, mask)
    size = (*shape, bold.data.shape[3])
    volumes = target.volumes(bold.data, bold.affine)
    save_series(files["bold_template"], volumes, size, affine, item.scan["t_r"], scale)
    inside = target.sample(boldref.with_data(mask.astype(np.float32)), order=1) > 0.5
    save_image(files["bold_mask_template"], Volume(inside.astype(np.uint8), affine))
    save_image(files["boldref_template"], Volume(_compact(target.sample(boldref)), affine))
    space = str(chosen.path) if chosen.path else None
    sources = _sources(item.scan["bold_path"], item.scan["t1w_path"])
    about = {"SpatialReference": space, "Sources": sources}
    _write_bold_sidecar(item, files["bold_template"], **about)
    what = "Brain, where the reference volume has signal"
    write_sidecar(files["bold_mask_template"], {"Description": what, "Type": "Brain", **about})
    what = "Reference volume of the head motion"
    write_sidecar(files["boldref_template"], {"Description": what, "SkullStripped": False, **about})
    return files


def _write_bold_sidecar(item: PreprocessInput, path: Path, **more: Any) -> None:
    scan = item.scan
    about = {
        "Description": "Realigned, RAS order, every volume interpolated once; int16 with scl_slope",
        "TaskName": scan["task"],
        "RepetitionTime": scan["t_r"],
        "SkullStripped": False,
        "SliceTimingCorrected": item.settings.slice_timing and scan["slice_timing"] is not None,
        "SpatialReference": "orig",
        "Sources": _sources(scan["bold_path"]),
    }
    write_sidecar(path, about | more)
