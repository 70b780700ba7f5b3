"""Make the bridges between template spaces that the package ships, and measure them.

    pip install --no-deps picsl-greedy    # 1.4.0.3 made those that are shipped
    D=../shared/data
    python benchmarks/bridges.py $D/templates_mni --atlases $D/atlas_schaefer100

Brains and tissues of ICBM 2009a and 2009c are registered to FSL's (picsl-greedy: affine, then
deformable, one thread), smoothed, and sampled every 4 mm; inverses are found by fixed-point
iteration. The same templates and the same picsl-greedy give the same bytes. About 60 CPU-s. With
`--measure` nothing is made: the fields of the package are measured.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import SimpleITK
import typer
from nibabel.affines import apply_affine
from nilearn import datasets
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from brainmass_core.spaces import FSL, ICBM_2009A, ICBM_2009C
from brainmass_core.spaces.bridges import bridge
from brainmass_core.spaces.shipped import ABOUT, DATA, field_name
from brainmass_core.spaces.warps import Warp, to_bytes

NODE = 4.0  # mm between the nodes of a field
SMOOTH = 4.0  # mm, standard deviation: finer differences are noise of two templates' contrasts
FULL, NONE = 10.0, 26.0  # mm from the brain up to which a field holds, and from which it is 0
# without jitter and noise, which greedy adds by default, every run gives other numbers
AFFINE = "-threads 1 -jitter 0 -i fix mov -a -dof 12 -ia-identity -n 100x50x20 -m NMI -o aff"
BENT = (
    "-threads 1 -noise 0 -w 1 -i f0 m0 -w 0.5 -i f1 m1 -w 0.5 -i f2 m2 -it aff -m NCC 2x2x2 "
    "-n 100x100x40 -s 2.5vox 1.5vox -o warp"
)
LPS = np.array([-1.0, -1.0, 1.0])
FSL_FILES = ("MNI152_T1_2mm_brain", "MNI152_T1_2mm_brain_mask", "MNI152_T1_2mm_Brain_FAST_seg")
C_FILE = "mni_icbm152_nlin_asym_09c_2mm"


@dataclass(frozen=True)
class Brain:
    """A template on its 2 mm grid, RAS: T1w without skull, mask, grey and white matter."""

    t1w: np.ndarray
    mask: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    affine: np.ndarray

    def points(self) -> np.ndarray:
        return apply_affine(self.affine, np.indices(self.mask.shape).reshape(3, -1).T)

    def at(self, name: str, points: np.ndarray) -> np.ndarray:
        voxels = apply_affine(np.linalg.inv(self.affine), points)
        return map_coordinates(getattr(self, name).astype(np.float32), voxels.T, order=1)

    def channels(self) -> list[np.ndarray]:
        """T1w, grey and white matter, each about 0 to 100."""
        t1w = np.clip(100 * self.t1w / np.percentile(self.t1w[self.mask], 99.5), 0, 120)
        return [t1w, *(100 * gaussian_filter(t, 0.5) for t in (self.grey, self.white))]


def in_ras(image: Any) -> tuple[np.ndarray, np.ndarray]:
    image = nib.as_closest_canonical(image)
    return np.asarray(image.dataobj, dtype=np.float32), image.affine


def templates(folder: Path) -> dict[str, Brain]:
    """The three templates; nilearn's come with its package."""
    (t1w, affine), (mask, _), (tissue, _) = (
        in_ras(nib.load(folder / f"{name}.nii.gz")) for name in FSL_FILES
    )
    fsl = Brain(t1w, mask > 0, 1.0 * (tissue == 2), 1.0 * (tissue == 3), affine)
    (t1w, affine), (mask, _), (grey, _), (white, _) = (
        in_ras(nib.load(folder / f"{C_FILE}_{name}.nii.gz"))
        for name in ("T1", "brainmask", "tpm_gm", "tpm_wm")
    )
    c = Brain(t1w * (mask > 0), mask > 0, grey, white, affine)
    (t1w, affine), (mask, _), (grey, _), (white, _) = (
        in_ras(getattr(datasets, f"load_mni152_{name}")(resolution=2))
        for name in ("template", "brain_mask", "gm_template", "wm_template")
    )
    a = Brain(t1w * (mask > 0), mask > 0, grey, white, affine)
    return {FSL: fsl, ICBM_2009A: a, ICBM_2009C: c}


def itk(data: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T.astype(np.float32)))
    image.SetSpacing(np.diag(affine)[:3].tolist())
    image.SetOrigin((affine[:3, 3] * LPS).tolist())
    image.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])
    return image


@contextmanager
def silence() -> Iterator[None]:
    """Greedy writes to the standard output of the process."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def register(fixed: Brain, moving: Brain) -> tuple[np.ndarray, np.ndarray]:
    """Affine (4, 4) and displacement (x, y, z, 3), mm, RAS, on the grid of `fixed`.

    Points of `fixed` go to ``affine @ (point + displacement)``.
    """
    from picsl_greedy import Greedy3D

    images = {f"f{i}": itk(c, fixed.affine) for i, c in enumerate(fixed.channels())}
    images |= {f"m{i}": itk(c, moving.affine) for i, c in enumerate(moving.channels())}
    greedy = Greedy3D()
    with silence():
        greedy.execute(AFFINE, fix=images["f0"], mov=images["m0"], aff=None)
        greedy.execute(BENT, warp=None, **images)
    bent = SimpleITK.GetArrayFromImage(greedy["warp"]).transpose(2, 1, 0, 3) * LPS
    return np.asarray(greedy["aff"]), bent


def to_hub(fixed: Brain, moving: Brain) -> Warp:
    """Points of `fixed` to those of `moving`, smooth, and affine far from the brain."""
    affine, bent = register(fixed, moving)
    size = np.diag(fixed.affine)[:3]
    smooth = np.stack([gaussian_filter(bent[..., k], SMOOTH / size) for k in range(3)], axis=-1)
    shape, grid = nodes_around(fixed.points()[fixed.mask.ravel()])
    points = apply_affine(grid, np.indices(shape).reshape(3, -1).T)
    voxels = apply_affine(np.linalg.inv(fixed.affine), points).T
    field = [map_coordinates(smooth[..., k], voxels, order=1, mode="nearest") for k in range(3)]
    field = np.stack(field, axis=-1) @ affine[:3, :3].T
    return Warp(affine, (field * fading(fixed, voxels)[:, None]).reshape(*shape, 3), grid)


def nodes_around(inside: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """A grid of nodes at multiples of `NODE` that reaches `NONE` mm beyond all points."""
    low = np.floor((inside.min(axis=0) - NONE) / NODE)
    high = np.ceil((inside.max(axis=0) + NONE) / NODE)
    grid = np.diag([NODE, NODE, NODE, 1.0])
    grid[:3, 3] = low * NODE
    return tuple(int(n) for n in high - low + 1), grid


def fading(brain: Brain, voxels: np.ndarray) -> np.ndarray:
    """1 near the brain, 0 far from it, at voxels (3, n) of its grid, which end near the brain."""
    wide = int(NONE / NODE * 4)
    distance = distance_transform_edt(~np.pad(brain.mask, wide), sampling=np.diag(brain.affine)[:3])
    far = map_coordinates(distance, voxels + wide, order=1, mode="nearest")
    x = np.clip((NONE - 2 - far) / (NONE - 2 - FULL), 0, 1)
    return x * x * (3 - 2 * x)


def inverse(warp: Warp) -> Warp:
    """The way back, sampled on a grid of its own."""
    ends = np.stack([np.zeros(3), np.array(warp.field.shape[:3]) - 1])
    corners = np.array(np.meshgrid(*ends.T)).reshape(3, -1).T
    there = apply_affine(warp.affine @ warp.grid, corners)
    low, high = np.floor(there.min(axis=0) / NODE) - 1, np.ceil(there.max(axis=0) / NODE) + 1
    grid = np.diag([NODE, NODE, NODE, 1.0])
    grid[:3, 3] = low * NODE
    shape = tuple(int(n) for n in high - low + 1)
    points = apply_affine(grid, np.indices(shape).reshape(3, -1).T)
    back = np.linalg.inv(warp.affine)
    field = warp.inverse_at(points) - apply_affine(back, points)
    return Warp(back, field.reshape(*shape, 3), grid)


def make(brains: dict[str, Brain], folder: Path, out: Path) -> None:
    """Write the fields and what is known of them, but for the accuracy."""
    fields = {}
    for space in (ICBM_2009A, ICBM_2009C):
        there = to_hub(brains[space], brains[FSL])
        for pair, warp in (((space, FSL), there), ((FSL, space), inverse(there))):
            content, name = to_bytes(warp), field_name(*pair)
            (out / name).write_bytes(content)
            fields[name] = {
                "from": pair[0],
                "to": pair[1],
                "shape": list(warp.field.shape[:3]),
                "first_node_mm": warp.grid[:3, 3].tolist(),
                "step_mm": NODE,
                "sha256": hashlib.sha256(content).hexdigest(),
            }
    used = [f"{n}.nii.gz" for n in FSL_FILES]
    used += [f"{C_FILE}_{n}.nii.gz" for n in ("T1", "brainmask", "tpm_gm", "tpm_wm")]
    sums = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in used}
    about = {
        "spaces": [FSL, ICBM_2009A, ICBM_2009C],
        "description": "affine @ point + field(point): points in mm, RAS, to points; the field by "
        "cubic splines between nodes, 0 beyond them",
        "made_by": "benchmarks/bridges.py",
        "registration": {"picsl-greedy": version("picsl-greedy"), "affine": AFFINE, "bent": BENT},
        "smoothing_mm": SMOOTH,
        "templates": sums | {"nilearn": version("nilearn")},
        "fields": fields,
    }
    (out / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def accuracy(brains: dict[str, Brain], source: str, target: str) -> dict[str, Any]:
    """A bridge between two templates, measured in the brain of `source`."""
    brain, other = brains[source], brains[target]
    inside = brain.points()[brain.mask.ravel()]
    there = bridge(source, target)(inside)
    moved = np.linalg.norm(there - inside, axis=1)
    error = np.linalg.norm(bridge(target, source)(there) - inside, axis=1)
    found = {
        "moved_mm": [float(x) for x in (*np.percentile(moved, [50, 95]), moved.max())],
        "there_and_back_mm": [float(error.mean()), float(error.max())],
        "jacobian": jacobians(source, target, inside),
    }
    for name in ("grey", "white"):
        own = getattr(brain, name)[brain.mask] > 0.5
        found[f"dice_{name}"] = [dice(own, other.at(name, p) > 0.5) for p in (inside, there)]
    t1w = brain.t1w[brain.mask]
    found["correlation"] = [
        float(np.corrcoef(t1w, other.at("t1w", p))[0, 1]) for p in (inside, there)
    ]
    return found


def jacobians(source: str, target: str, points: np.ndarray) -> list[float]:
    """Smallest and largest volume change."""
    lead, h = bridge(source, target), 0.5
    columns = [lead(points + h * e) - lead(points - h * e) for e in np.eye(3)]
    det = np.linalg.det(np.stack(columns, axis=-1) / (2 * h))
    return [float(det.min()), float(det.max())]


def parcels_carried(folder: Path) -> dict[str, list[float]]:
    """Dice of each parcel of the FSL file, carried to 2009cAsym, with an independent version.

    Mean and least, and the mean distance of the centroids in mm.
    """
    name = "Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm.nii.gz"
    own, affine = in_ras(nib.load(folder / name))
    other, grid = in_ras(nib.load(folder / "xcpEngine_schaefer100x7_MNI152NLin2009c_2mm.nii.gz"))
    points = apply_affine(grid, np.indices(other.shape).reshape(3, -1).T)
    expected = other.ravel()
    ways = {"identity": points, "bridge": bridge(ICBM_2009C, FSL)(points)}
    found = {}
    for way, where in ways.items():
        voxels = np.rint(apply_affine(np.linalg.inv(affine), where)).astype(int)
        ok = ((voxels >= 0) & (voxels < own.shape)).all(axis=1)
        label = np.zeros(len(points), dtype=own.dtype)
        label[ok] = own[tuple(voxels[ok].T)]
        each = [dice(label == k, expected == k) for k in range(1, 101)]
        apart = [
            np.linalg.norm(points[label == k].mean(axis=0) - points[expected == k].mean(axis=0))
            for k in range(1, 101)
        ]
        found[way] = [float(np.mean(each)), float(np.min(each)), float(np.mean(apart))]
    return found


def main(
    folder: Annotated[Path, typer.Argument(help="The templates of FSL and ICBM 2009c.")],
    atlases: Annotated[Path | None, typer.Option(help="Schaefer-100 in both spaces.")] = None,
    out: Annotated[Path, typer.Option(help="Where the fields are written.")] = DATA,
    measure: Annotated[bool, typer.Option(help="Only measure what is there.")] = False,
) -> None:
    brains = templates(folder)
    if not measure:
        make(brains, folder, out)
    if out != DATA:
        return
    about = json.loads((out / ABOUT).read_text(encoding="utf-8"))
    about["accuracy"] = {f"{a} to {b}": accuracy(brains, a, b) for a, b in permutations(brains, 2)}
    if atlases is not None:
        about["schaefer_2009c"] = parcels_carried(atlases)
    rounded = json.loads(json.dumps(about), parse_float=lambda x: float(f"{float(x):.4g}"))
    for key in ("accuracy", "schaefer_2009c"):
        about[key] = rounded.get(key)
        for pair, numbers in (rounded.get(key) or {}).items():
            print(pair, json.dumps(numbers))
    if not measure:
        (out / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
