"""Find the fieldmap of a run by its BIDS metadata.

`IntendedFor` of the fieldmap, or `B0FieldSource` of the run and `B0FieldIdentifier` of the
fieldmap, link them; an image that is merely in the same folder is not used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bids2table
import numpy as np

from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed
from brainmass_core.preprocess.grids import Volume
from brainmass_core.readers.files import FileError
from brainmass_core.readers.image import read_image
from brainmass_core.readers.sidecar import read_object
from brainmass_core.scans.index import IMAGES, File, Sidecars

STEP = "fieldmap"
SUFFIXES = ("epi", "phasediff", "phase1", "fieldmap")  # in order of preference, as fMRIPrep's
PARTNERS = {
    "phasediff": (("magnitude1", "magnitude2"),),
    "phase1": (("phase2",), ("magnitude1", "magnitude2")),
    "fieldmap": (("magnitude", "magnitude1"),),
    "epi": (),
}
KINDS = {"phasediff": "phasediff", "phase1": "phasediff", "fieldmap": "fieldmap", "epi": "pepolar"}
OF_PEOPLE = ("participants.json", "dataset_description.json")  # do not describe images
GYROMAGNETIC = 42.577e6  # Hz per T
PER_HZ = {"Hz": 1.0, "rad/s": 2 * np.pi, "T": 1 / GYROMAGNETIC}


@dataclass(frozen=True)
class Fieldmap:
    """Files of a fieldmap.

    Attributes
    ----------
    kind : str
        ``pepolar``, ``phasediff`` or ``fieldmap``.
    paths : tuple of Path
        ``pepolar``: the images; ``phasediff``: the difference, or both phases, and a magnitude;
        ``fieldmap``: the field and a magnitude.
    metadata : tuple of dict
        Sidecar of each.
    """

    kind: str
    paths: tuple[Path, ...]
    metadata: tuple[dict[str, Any], ...]

    def load(self) -> LoadedFieldmap:
        """Read the images; phases are converted to rad, fields to Hz.

        Raises
        ------
        ScanFailed
            If an image is damaged or its sidecar lacks what is needed.
        """
        images = [read_volume(p) for p in self.paths]
        encodings: list[tuple[str, float]] = []
        difference = 0.0
        if self.kind == "pepolar":
            encodings = [self._encoding(k) for k in range(len(images))]
        elif self.kind == "fieldmap":
            images[0] = images[0].with_data(images[0].data / self._units())
        else:
            images[:-1] = [image.with_data(radians(image.data)) for image in images[:-1]]
            difference = self._echo_difference()
        return LoadedFieldmap(self.kind, tuple(images), tuple(encodings), difference)

    def _encoding(self, k: int) -> tuple[str, float]:
        direction = self._needed(k, "PhaseEncodingDirection")
        if not re.fullmatch("[ijk]-?", str(direction)):
            raise _refused(self.paths[k], f"PhaseEncodingDirection {direction!r}", "i, j, k or i-")
        return str(direction), self._seconds(k, "TotalReadoutTime")

    def _units(self) -> float:
        units = self.metadata[0].get("Units", "Hz")
        if units not in PER_HZ:
            raise _refused(self.paths[0], f"Units {units!r}", f"one of {', '.join(PER_HZ)}")
        return PER_HZ[units]

    def _echo_difference(self) -> float:
        if len(self.paths) == 2:
            first, second = self._seconds(0, "EchoTime1"), self._seconds(0, "EchoTime2")
        else:
            first, second = self._seconds(0, "EchoTime"), self._seconds(1, "EchoTime")
        if not 1e-4 < second - first < 0.1:
            raise _refused(
                self.paths[0], f"echo times {first:g} s and {second:g} s", "a few ms between them"
            )
        return second - first

    def _seconds(self, k: int, name: str) -> float:
        value = self._needed(k, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise _refused(self.paths[k], f"{name} {value!r}", "seconds between 0 and 1")
        return float(value)

    def _needed(self, k: int, name: str) -> Any:
        if name not in self.metadata[k]:
            raise _refused(self.paths[k], f"no {name} in its sidecar", "it, to use the fieldmap")
        return self.metadata[k][name]


@dataclass(frozen=True)
class LoadedFieldmap:
    """Images of a fieldmap.

    Attributes
    ----------
    images : tuple of Volume
        As `Fieldmap.paths`; phases in rad, fields in Hz.
    encodings : tuple of (str, float)
        Of ``pepolar``: phase-encoding direction and total readout time (s) of each image.
    echo_difference : float
        Of ``phasediff``: s.
    """

    kind: str
    images: tuple[Volume, ...]
    encodings: tuple[tuple[str, float], ...] = ()
    echo_difference: float = 0.0


def find_fieldmap(bold_path: str | Path) -> Fieldmap | None:
    """Find the fieldmap of a run in a raw BIDS data set.

    Parameters
    ----------
    bold_path : path
        ``<root>/sub-X/[ses-Y/]func/..._bold.nii.gz``.

    Returns
    -------
    Fieldmap or None
        None if no fieldmap is linked to the run. Opposite phase encodings are preferred, then
        phases, then fields; among several of a kind the last by name, which is the nearest in time
        if runs are numbered.

    Raises
    ------
    ScanFailed
        If a fieldmap is linked to the run but a file is missing or a sidecar is damaged.
    """
    bold = Path(bold_path).absolute()
    participant = next((p for p in bold.parents if p.name.startswith("sub-")), None)
    folder = bold.parent.parent / "fmap"
    if participant is None or bold.parent.name != "func" or not folder.is_dir():
        return None
    sidecars = Sidecars(participant.parent)
    names = sorted(p for p in folder.iterdir() if p.name.endswith(IMAGES))
    files = [file for p in names if (file := _parsed(p)).entities.get("suffix")]
    try:
        sources = _texts(sidecars.of(_parsed(bold)).get("B0FieldSource"))
        described = [(f, sidecars.of(f)) for f in files]
    except ScanExcluded as error:
        raise ScanFailed(error.reason, STEP, "correct the sidecar") from None
    _check_orphans(folder, bold, participant, sources, files)
    belongs = [(f, m) for f, m in described if _belongs(m, bold, participant, sources)]
    for suffix in SUFFIXES:
        chosen = [(f, m) for f, m in belongs if f.entities["suffix"] == suffix]
        if suffix == "epi" and chosen:
            return _fieldmap("epi", chosen)
        if chosen:
            return _with_partners(*chosen[-1], described)
    return None


def candidates(bold_path: str) -> list[Path]:
    """All files that `find_fieldmap` may read for a run: its session's fieldmaps and sidecars.

    All sidecars in the parent folders are included; `Sidecars` decides which of them apply.
    """
    bold = Path(bold_path).absolute()
    participant = next((p for p in bold.parents if p.name.startswith("sub-")), None)
    folder = bold.parent.parent / "fmap"
    if participant is None or not folder.is_dir():
        return []
    above = {participant.parent, participant, bold.parent.parent}
    shared = [p for place in above for p in place.glob("*.json")]
    own = [p for p in folder.iterdir() if p.name.endswith((*IMAGES, ".json"))]
    return sorted(p for p in [*own, *shared] if p.name not in OF_PEOPLE)


def _parsed(path: Path) -> File:
    return File(path, bids2table.parse_bids_entities(path))


def _belongs(metadata: dict[str, Any], bold: Path, participant: Path, sources: list[str]) -> bool:
    """Whether a fieldmap's sidecar is linked to the run."""
    if sources:  # the newer entities; if the run has them, only they count
        return bool(set(sources) & set(_texts(metadata.get("B0FieldIdentifier"))))
    return any(_target(text, participant) == bold for text in _texts(metadata.get("IntendedFor")))


def _target(text: str, participant: Path) -> Path:
    """The file named by ``IntendedFor``: a BIDS URI, or a path relative to the participant."""
    if text.startswith("bids::"):
        return participant.parent / text.removeprefix("bids::")
    return participant / text.removeprefix(f"{participant.name}/")


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, str)]


def _with_partners(
    file: File, metadata: dict[str, Any], described: list[tuple[File, dict[str, Any]]]
) -> Fieldmap:
    """A fieldmap of several files, whose names differ only in the suffix."""
    suffix = file.entities["suffix"]
    found = [(file, metadata)]
    own = _but_suffix(file)
    for choices in PARTNERS[suffix]:
        same = [d for d in described if _but_suffix(d[0]) == own]
        of_choice = [d for s in choices for d in same if d[0].entities["suffix"] == s]
        if not of_choice:
            stem = file.path.name.split(f"_{suffix}.")[0]
            raise ScanFailed(
                f"{file.path}: found no {stem}_{choices[0]} in its folder, expected it with a "
                f"{suffix}",
                STEP,
                "restore the file, or set preprocess.distortion to none",
            )
        found.append(of_choice[0])
    return _fieldmap(suffix, found)


def _but_suffix(file: File) -> dict[str, str]:
    return {k: v for k, v in file.entities.items() if k not in ("suffix", "ext")}


def _fieldmap(suffix: str, found: list[tuple[File, dict[str, Any]]]) -> Fieldmap:
    return Fieldmap(KINDS[suffix], tuple(f.path for f, _ in found), tuple(m for _, m in found))


def _check_orphans(
    folder: Path, bold: Path, participant: Path, sources: list[str], files: list[File]
) -> None:
    """Refuse a sidecar that is linked to the run but has no image."""
    there = {f.path.name.removesuffix(f.entities["ext"]) for f in files}
    for path in sorted(folder.glob("*.json")):
        if path.stem in there:
            continue
        try:
            metadata = read_object(path)
        except FileError as error:
            raise ScanFailed(f"sidecar of a fieldmap {error}", STEP, "correct the JSON") from None
        if _belongs(metadata, bold, participant, sources):
            raise ScanFailed(
                f"{path}: refers to {bold.name}, but found no image of its own name in its folder",
                STEP,
                "restore the image, or remove the sidecar",
            )


def read_volume(path: Path) -> Volume:
    """Read an image of a fieldmap; the mean of a series.

    Raises
    ------
    ScanFailed
        If it cannot be read, is not 3-D or 4-D, or is constant.
    """
    try:
        stored, affine = read_image(path)
    except FileError as error:
        raise ScanFailed(
            f"fieldmap {error}", STEP, "restore the file, or set preprocess.distortion to none"
        ) from None
    data = np.nan_to_num(np.asarray(stored, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if data.ndim == 4:
        data = data.mean(axis=3)
    if data.ndim != 3 or np.ptp(data) == 0:
        raise _refused(path, f"shape {stored.shape} with values from {data.min()}", "an image")
    return Volume(data, affine)


def radians(phase: np.ndarray) -> np.ndarray:
    """Convert phase to rad, from rad or from a scanner's units whose range is 2 pi.

    Scanners write about 12 bits; a range that is less than 5 % below a power of two is rounded up
    to it. The offset does not matter, see `b0field.hz_of_phase`.

    Parameters
    ----------
    phase : ndarray (x, y, z)

    Returns
    -------
    ndarray (x, y, z)
        rad.
    """
    span = float(np.ptp(phase))
    if span <= 2 * np.pi * 1.01:
        return phase
    power = 2.0 ** np.ceil(np.log2(span))
    turn = power if span > 0.95 * power else span
    return (phase - phase.min()) * (2 * np.pi / turn) - np.pi


def _refused(path: Path, found: str, expected: str) -> ScanFailed:
    return ScanFailed(
        f"{path}: found {found}, expected {expected}",
        STEP,
        "correct the fieldmap or its sidecar, or set preprocess.distortion to none",
    )
