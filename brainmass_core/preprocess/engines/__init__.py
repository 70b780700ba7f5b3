"""Engines: the function for each step, its programs, and a check for missing ones.

Every function takes arrays and `Volume`s and returns arrays; files are in a temporary folder that
is removed when it returns. Missing programs are reported before any work begins.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from brainmass_core.config.preprocess import Engines

__all__ = ["SKIP_CHECK", "engine", "missing", "programs"]

SKIP_CHECK = "BRAINMASS_SKIP_ENGINE_CHECK"  # "1": check for programs only in the jobs

WHERE = {
    "fsl": "FSL 6 (https://fsl.fmrib.ox.ac.uk; its own conda channel; NeuroDebian)",
    "afni": "AFNI (its script `@update.afni.binaries`; the container afni/afni_make_build)",
    "ants": "ANTs 2.3 or newer (conda-forge package `ants`; the container antsx/ants)",
    "greedy": "Greedy (a dependency of brainmass-core: `pip install picsl-greedy SimpleITK`)",
    "deepbet": "deepbet (`pip install 'brainmass-core[deepbet]'`)",
    "simpleitk": "SimpleITK (a dependency of brainmass-core: `pip install SimpleITK`)",
}


@dataclass(frozen=True)
class Entry:
    """One engine of one step.

    Attributes
    ----------
    module : str
        Module in this package.
    function : str
    programs : tuple of str
        Executables.
    files : tuple of str
        Required files of the FSL installation, relative to ``FSLDIR``.
    packages : tuple of str
        Python packages.
    """

    module: str
    function: str
    programs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


EXTRACTION = (  # programs called by the script antsBrainExtraction.sh
    "antsRegistration",
    "antsApplyTransforms",
    "N4BiasFieldCorrection",
    "Atropos",
    "ImageMath",
    "ThresholdImage",
)


def _schedule(name: str) -> tuple[str, ...]:
    return (f"etc/flirtsch/{name}",)


ENTRIES: dict[tuple[str, str], Entry] = {
    ("bias_correction", "ants"): Entry("ants", "bias_correction", ("N4BiasFieldCorrection",)),
    ("brain_extraction", "ants"): Entry(
        "ants",
        "brain_extraction",
        ("antsBrainExtraction.sh", *EXTRACTION),
    ),
    ("brain_extraction", "fsl"): Entry("fsl", "brain_extraction", ("bet",)),
    ("brain_extraction", "afni"): Entry("afni", "brain_extraction", ("3dSkullStrip",)),
    ("brain_extraction", "deepbet"): Entry("deepbet", "brain_extraction", packages=("deepbet",)),
    ("segmentation", "ants"): Entry("ants", "segmentation", ("Atropos",)),
    ("segmentation", "fsl"): Entry("fsl", "segmentation", ("fast",)),
    ("normalisation", "ants"): Entry("ants", "normalisation", ("antsRegistration",)),
    ("normalisation", "greedy"): Entry(
        "greedy", "normalisation", packages=("picsl_greedy", "SimpleITK")
    ),
    ("normalisation", "fsl"): Entry(
        "fsl",
        "normalisation",
        ("flirt", "fnirt", "convertwarp"),
        _schedule("T1_2_MNI152_2mm.cnf"),
    ),
    ("despike", "afni"): Entry("afni", "despike", ("3dDespike",)),
    ("slice_timing", "fsl"): Entry("fsl", "slice_timing", ("slicetimer",)),
    ("slice_timing", "afni"): Entry("afni", "slice_timing", ("3dTshift",)),
    ("motion", "ants"): Entry("inprocess", "motion_ants", packages=("ants",)),
    ("motion", "simpleitk"): Entry("inprocess", "motion_simpleitk", packages=("SimpleITK",)),
    ("motion", "fsl"): Entry("fsl", "motion", ("mcflirt",)),
    ("motion", "afni"): Entry("afni", "motion", ("3dvolreg",)),
    ("coregistration", "ants"): Entry("ants", "coregistration", ("antsRegistration",)),
    ("coregistration", "fsl"): Entry("fsl", "coregistration", ("flirt",), _schedule("bbr.sch")),
    ("distortion", "fsl"): Entry(
        "distortion", "distortion", ("topup", "prelude"), _schedule("b02b0.cnf")
    ),
    ("unwrap", "fsl"): Entry("distortion", "unwrap", ("prelude",)),
}


def engine(step: str, name: str) -> Callable:
    """The function of an engine for a step.

    Parameters
    ----------
    step : str
        A field of `config.preprocess.Engines`, or ``unwrap``, which belongs to ``distortion``.
    name : str
        A choice of that field, such as ``ants`` or ``greedy``.

    Raises
    ------
    ValueError
        If there is no such engine; ``embedded`` is not one, because the step's own module does it.
    """
    found = _entry(step, name)
    return getattr(import_module(f"{__name__}.{found.module}"), found.function)


def programs(step: str, name: str) -> tuple[str, ...]:
    """Executables that an engine calls; empty for engines that work in process.

    Raises
    ------
    ValueError
        If there is no such engine.
    """
    return () if name == "embedded" else _entry(step, name).programs


def missing(engines: Engines) -> list[str]:
    """Requirements of the chosen engines that are missing on this machine.

    Returns
    -------
    list of str
        One line per step: setting, what is missing, where to get it; empty if nothing is missing.
    """
    found = []
    for step, name in engines.model_dump().items():
        if name == "embedded":
            continue
        entry = _entry(step, name)
        if absent := _absent(name, entry):
            then = " and put it on PATH" if entry.programs else ""
            found.append(
                f"preprocess.engines.{step} is {name}, but {'; '.join(absent)}. Install "
                f"{WHERE[name]}{then}, or choose embedded"
            )
    return found


def _entry(step: str, name: str) -> Entry:
    if (step, name) not in ENTRIES:
        known = sorted(n for s, n in ENTRIES if s == step)
        raise ValueError(f"no engine {name!r} does {step!r}; expected one of {known}")
    return ENTRIES[step, name]


def _absent(name: str, entry: Entry) -> list[str]:
    """Description of the missing requirements of one engine."""
    absent = []
    if programs := [p for p in entry.programs if shutil.which(p) is None]:
        absent.append(f"{', '.join(programs)} was not found on PATH")
    if packages := [p for p in entry.packages if find_spec(p) is None]:
        absent.append(f"the Python package {', '.join(packages)} is not installed")
    if name == "fsl":
        home = os.environ.get("FSLDIR")
        if not home:
            absent.append("the environment variable FSLDIR, the folder of FSL, is not set")
        elif files := [f for f in entry.files if not (Path(home) / f).is_file()]:
            absent.append(f"FSLDIR is {home}, where {', '.join(files)} was not found")
    return absent
