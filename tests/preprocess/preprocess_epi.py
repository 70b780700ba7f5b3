"""Two sessions of a head with known truth: a T1w, and an EPI that susceptibility distorts.

Coordinates are those of the head (RAS mm): the T1w has them, and `pose` is the position in the BOLD
session. All images are sampled from the packaged template.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from nibabel.affines import apply_affine
from nilearn import datasets
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, zoom
from scipy.spatial.transform import Rotation

from brainmass_core.preprocess.grids import Volume

CENTRE = np.array([0.0, -18.0, 10.0])  # of the template's brain
AIR = np.array([[0.0, 40.0, -28.0], [-46.0, -22.0, -30.0], [46.0, -22.0, -30.0]])
STRENGTH = np.array([120.0, -60.0, -70.0])  # Hz near sinus and ears
WIDTH = np.array([16.0, 13.0, 13.0])  # mm
STEP = 22.0 * 14 / 74  # mm between the nodes of the bending
EPI_SHAPE = (64, 64, 38)
READOUT = 0.04  # s


@lru_cache(maxsize=1)
def maps() -> dict[str, np.ndarray]:
    """Maps of the template at 1 mm, float32."""
    template = datasets.load_mni152_template(resolution=1)
    brain = np.asarray(datasets.load_mni152_brain_mask(resolution=1).dataobj) > 0
    grey, white = (
        np.asarray(load(resolution=1).dataobj, dtype=np.float32) * brain
        for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    )
    fluid = np.clip(1 - grey - white, 0, 1) * brain
    outside = distance_transform_edt(~brain)
    scalp = ((outside > 7) & (outside < 13)).astype(np.float32)
    near = (outside > 0) & (outside <= 3)
    t1w = np.asarray(template.dataobj, dtype=np.float32) * brain + 0.9 * scalp + 0.15 * near
    epi = 1.0 * grey + 0.82 * white + 1.25 * fluid + 0.15 * scalp + 0.4 * near
    gre = 0.9 * grey + 1.0 * white + 0.8 * fluid + 0.9 * scalp
    found = {"t1w": t1w, "epi": epi, "gre": gre, "brain": brain.astype(np.float32)}
    found |= {"grey": grey, "white": white, "fluid": fluid}
    return found | {"to_voxel": np.linalg.inv(template.affine)}


def rigid(mm: tuple[float, ...], degrees: tuple[float, ...]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = mm
    return matrix


@lru_cache(maxsize=8)
def shape_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Size (3, 3) and bending (3, x, y, z) in mm of a head."""
    rng = np.random.default_rng(seed)
    size = np.diag(rng.uniform(0.94, 1.06, 3)) + rng.normal(0, 0.01, (3, 3))
    nodes = gaussian_filter(rng.standard_normal((3, 15, 15, 15)), (0, 0.8, 0.8, 0.8))
    nodes = np.stack([zoom(n, 5, order=3, mode="nearest") for n in nodes])
    return size, nodes * (3.0 / np.sqrt(3) / nodes.std())


@dataclass(frozen=True)
class Head:
    """A person: the template, scaled and bent by 3 mm (RMS) at random."""

    seed: int

    def to_template(self, points: np.ndarray) -> np.ndarray:
        size, nodes = shape_of(self.seed)
        lattice = ((points + 150.0) / STEP).T
        bent = [map_coordinates(n, lattice, order=1, mode="nearest") for n in nodes]
        return points @ size.T + np.stack(bent, axis=-1) + CENTRE

    def value(self, name: str, points: np.ndarray) -> np.ndarray:
        voxels = apply_affine(maps()["to_voxel"], self.to_template(points))
        return map_coordinates(maps()[name], voxels.T, order=1)

    def t1w(self, size: float = 1.0, noise: float = 0.03) -> Volume:
        shape = tuple(int(n / size) for n in (196, 232, 196))
        affine = centred(size, shape)
        points = Volume(np.empty(shape), affine).points()
        rng = np.random.default_rng([self.seed, 1])
        data = self.value("t1w", points) * (1 + 0.002 * points[:, 0] + 0.001 * points[:, 1])
        data = np.hypot(data + rng.normal(0, noise, len(data)), rng.normal(0, noise, len(data)))
        return Volume((300 * data).reshape(shape).astype(np.float32), affine)

    def tissue(self, grid: Volume) -> np.ndarray:
        """True labels on the grid of a T1w."""
        points = grid.points()
        shares = np.stack([self.value(n, points) for n in ("grey", "white", "fluid")], axis=-1)
        labels = np.where(shares.sum(axis=-1) > 0.5, shares.argmax(axis=-1) + 1, 0)
        return labels.reshape(grid.data.shape).astype(np.uint8)

    def brain_points(self) -> np.ndarray:
        """Points (n, 3) of the brain, 4 mm apart."""
        points = Volume(np.empty((49, 58, 49)), centred(4.0, (49, 58, 49))).points()
        return points[self.value("brain", points) > 0.5]


def centred(size: float, shape: tuple[int, ...]) -> np.ndarray:
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = -size * (np.array(shape) - 1) / 2
    return affine


def epi_grid(size: float = 3.5, flip: bool = True, shape: tuple = EPI_SHAPE) -> Volume:
    affine = np.diag([-size if flip else size, size, size, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Volume(np.zeros(shape, np.float32), affine)


@dataclass(frozen=True)
class Session:
    """A BOLD session: position of the head, and field.

    Attributes
    ----------
    pose : ndarray (4, 4)
        Head (= T1w) to scanner, mm: the truth of the coregistration.
    offset : float
        Hz everywhere, as a badly set centre frequency.
    """

    head: Head
    pose: np.ndarray
    offset: float = 0.0

    def hz(self, points: np.ndarray) -> np.ndarray:
        """B0 (n,) at points of the scanner."""
        at = apply_affine(np.linalg.inv(self.pose), points) + CENTRE
        bumps = [
            a * np.exp(-((at - c) ** 2).sum(axis=1) / (2 * w**2))
            for c, a, w in zip(AIR, STRENGTH, WIDTH, strict=True)
        ]
        return np.sum(bumps, axis=0) + 8 * np.sin(at[:, 1] / 40.0) + self.offset

    def displacement(self, points: np.ndarray, size: float, readout: float) -> np.ndarray:
        """Shift (n,) in mm along the positive phase-encoding axis."""
        return size * readout * self.hz(points)

    def value(self, name: str, points: np.ndarray) -> np.ndarray:
        return self.head.value(name, apply_affine(np.linalg.inv(self.pose), points))

    def epi(
        self,
        direction: str | None = None,
        readout: float = READOUT,
        grid: Volume | None = None,
        noise: float = 0.01,
        seed: int = 0,
        name: str = "epi",
    ) -> Volume:
        """An image, averaged over voxels; distorted if it has a phase-encoding direction."""
        grid = epi_grid() if grid is None else grid
        inside = (-0.25, 0.25)
        total = np.zeros(grid.data.size)
        index = np.indices(grid.data.shape).reshape(3, -1).T
        for shift in np.array(np.meshgrid(inside, inside, inside)).reshape(3, -1).T:
            points = apply_affine(grid.affine, index + shift)
            gain = np.ones(len(points))
            if direction:
                points, gain = self.source(points, direction, readout, grid)
            total += self.value(name, points) * gain / 8
        rng = np.random.default_rng([self.head.seed, seed])
        slope = 1 + 0.001 * grid.points()[:, 1]
        total = np.hypot(total * slope + rng.normal(0, noise, total.shape), noise)
        return grid.with_data((1000 * total).reshape(grid.data.shape).astype(np.float32))

    def source(
        self, points: np.ndarray, direction: str, readout: float, grid: Volume
    ) -> tuple[np.ndarray, np.ndarray]:
        """Origin of the signal recorded at `points`, and the factor by which it is stretched."""
        axis = grid.affine[:3, "ijk".index(direction[0])]
        size = float(np.linalg.norm(axis))
        step = axis / size * (-1 if direction.endswith("-") else 1)
        found = points.copy()
        for _ in range(9):  # an error shrinks to 0.45 of itself
            found = points - self.displacement(found, size, readout)[:, None] * step
        ahead, behind = (self.displacement(found + d * step, size, readout) for d in (0.5, -0.5))
        return found, 1 / np.maximum(1 + ahead - behind, 0.2)

    def shown_at(
        self, points: np.ndarray, direction: str, grid: Volume, readout: float = READOUT
    ) -> np.ndarray:
        """Positions of points (n, 3) of the head in an EPI: the true sum of all transforms."""
        axis = grid.affine[:3, "ijk".index(direction[0])]
        size = float(np.linalg.norm(axis))
        sign = -1 if direction.endswith("-") else 1
        there = apply_affine(self.pose, points)
        return there + self.displacement(there, size, readout)[:, None] * axis / size * sign


def rms(found: np.ndarray, truth: np.ndarray) -> float:
    """RMS distance (mm) between two transforms of points 45 mm around the head's centre."""
    corners = np.array(np.meshgrid(*[[-45, 45]] * 3)).reshape(3, -1).T
    apart = apply_affine(found, corners) - apply_affine(truth, corners)
    return float(np.sqrt((apart**2).sum(axis=1).mean()))
