"""Bridges between template spaces that a configuration uses, for its hashes and the DAG.

Only names, `bridges.json` and the listing of TemplateFlow's folder are read. If a name does not
determine a space, more bridges than necessary are included, never fewer.
"""

from __future__ import annotations

from pathlib import Path

from brainmass_core.config.model import Config
from brainmass_core.config.preprocess import PACKAGED, Preprocess
from brainmass_core.spaces import FSL, ICBM_2009A, SpaceError, space_of_file
from brainmass_core.spaces.shipped import shipped_digest, shipped_spaces
from brainmass_core.spaces.templateflow import (
    homes,
    template_files,
    transform_file,
    transform_files,
)

PRIORS = ICBM_2009A  # space of the packaged tissue priors
DRAWN = ICBM_2009A  # space of nilearn's template, the background of figures
KNOWN_PLACES = FSL  # space of the published centroids, and of BrainLM's coordinates


def data_bridges(config: Config, dataset: str) -> str:
    """Hash of the shipped bridges for parcellating the images of a data set; empty without one."""
    kind = config.datasets[dataset].kind
    if kind == "timeseries":
        return ""
    there = template_space(config.preprocess) if kind == "bids" else None
    return shipped_digest(atlas_space(config), there)


def prior_bridges(settings: Preprocess) -> str:
    """Hash of the shipped bridges from tissue priors to the template; empty without one."""
    return shipped_digest(template_space(settings), PRIORS)


def drawn_bridges(config: Config) -> str:
    """Hash of the shipped bridges from parcels to figures and to published centroids."""
    own = atlas_space(config)
    return shipped_digest(own, DRAWN) + shipped_digest(own, KNOWN_PLACES)


def data_transforms(config: Config, dataset: str) -> list[Path]:
    """TemplateFlow transforms that may connect the atlas with the images of a data set."""
    kind, own = config.datasets[dataset].kind, atlas_space(config)
    if kind == "timeseries":
        return []
    if kind == "bids":
        there = template_space(config.preprocess)
        return [] if there is None else _between(own, there)
    shipped = set(shipped_spaces())
    pairs = {file: file.name.split("_")[:2] for file in transform_files(own, homes())}
    return [
        file
        for file, (to, by) in pairs.items()
        if not {to.removeprefix("tpl-"), by.removeprefix("from-")} <= shipped
    ]


def template_inputs(settings: Preprocess) -> list[Path]:
    """TemplateFlow files of the template and the tissue priors."""
    found: list[Path] = []
    if settings.template != PACKAGED and not isinstance(settings.template, Path):
        found += template_files(settings.template, settings.resolution, homes()) or ()
    space = template_space(settings)
    return found if space is None else [*found, *_between(space, PRIORS, back=False)]


def template_space(settings: Preprocess) -> str | None:
    """Space of the template; None if neither its name nor ``template_space`` determines it."""
    if settings.template == PACKAGED:
        return ICBM_2009A
    if not isinstance(settings.template, Path):
        return settings.template
    return settings.template_space or _by_name(settings.template)


def atlas_space(config: Config) -> str:
    """Space of the atlas; that of the published atlas if it is not stated."""
    section = config.atlas
    return section.space or (section.path and _by_name(section.path)) or FSL


def _between(source: str, target: str, back: bool = True) -> list[Path]:
    """TemplateFlow transforms that replace a bridge that is not shipped."""
    if source == target or {source, target} <= set(shipped_spaces()):
        return []
    ways = [(source, target), (target, source)] if back else [(source, target)]
    return [file for way in ways if (file := transform_file(*way, homes())) is not None]


def _by_name(path: Path) -> str | None:
    try:
        return space_of_file(path)
    except SpaceError:  # reported when the file is read
        return None
