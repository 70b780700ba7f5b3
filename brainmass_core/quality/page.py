"""The page of a scan and its tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from brainmass_core.config import Config
from brainmass_core.pages import render
from brainmass_core.quality.inputs import QualityInput
from brainmass_core.quality.measures import MEASURES, Measure, light
from brainmass_core.quality.sections import sections_of

LIGHTS = {
    "bad": "beyond the threshold",
    "odd": "outlier among the scans",
    "good": "fine",
    "none": "not judged",
}
HEADLINE = {
    "ok": "This scan has functional connectivity.",
    "failed": "This scan failed",
    "excluded": "This scan was excluded",
}


def scan_page(item: QualityInput, page: Path) -> str:
    """HTML of one scan's page.

    Parameters
    ----------
    page : Path
        Path of the page; links to the derivatives are relative to it.
    """
    scan = item.scan
    lights = light_rows(item)
    synthetic = item.config.datasets[scan["dataset"]].synthetic is not None
    context = {
        "title": scan["scan_id"],
        "dataset": scan["dataset"],
        "synthetic": synthetic,
        "fate": item.fate,
        "headline": headline(item.fate),
        "facts": facts(item),
        "lights": lights,
        "stands_out": [r["label"] for r in lights if r["light"] in ("bad", "odd")],
        "light_names": LIGHTS,
        "n_others": max((r.n for r in item.others.values()), default=0),
        "outlier_z": item.config.quality.outlier_z,
        "sections": sections_of(item),
        "outputs": output_rows(item, page),
    }
    return render("scan.html.jinja", context, "brainmass_core.quality")


def headline(fate: dict[str, Any]) -> str:
    """Outcome of the scan, in one line."""
    if fate["status"] == "ok":
        return HEADLINE["ok"]
    return f"{HEADLINE[fate['status']]} in {fate['stage']}."


def facts(item: QualityInput) -> list[tuple[str, str]]:
    """Properties of the scan for the header, as far as known."""
    scan, done, series = item.scan, item.preprocessed, item.series
    known: list[tuple[str, Any]] = [
        ("Participant", scan["participant_id"]),
        ("Session", scan["session"]),
        ("Task", scan["task"]),
        ("Run", scan["run"]),
        ("Site", scan["site"]),
        ("Repetition time", _unit(scan["t_r"], "s")),
        ("Volumes", scan["n_volumes"]),
        ("Non-steady-state volumes dropped", done.get("n_dummy_volumes")),
        ("Slice timing", done.get("slice_timing")),
        ("Distortion", done.get("distortion")),
        ("Engines", engines_text(done.get("engines") or [])),
        ("Atlas", series.get("atlas")),
        ("Space of the atlas", series.get("space")),
        ("Space of the template", done.get("space") or scan.get("space")),
        *_denoising(series),
    ]
    return [(k, str(v)) for k, v in known if v is not None and v != ""]


def engines_text(engines: list[tuple[str, str]]) -> str:
    """Engines of the steps: the most common one, and the steps done by others."""
    names = [program for _, program in engines]
    if not names:
        return ""
    common = max(dict.fromkeys(names), key=names.count)
    others = [
        f"{step.replace('_', ' ')}: {program}" for step, program in engines if program != common
    ]
    return "; ".join([common, *others])


def _denoising(series: dict[str, Any]) -> list[tuple[str, Any]]:
    n_censored = series.get("n_censored")
    return [
        ("Denoising", series.get("denoise")),
        ("Order", _spaced(series.get("order"))),
        ("Filter", series.get("filter")),
        ("Censoring", series.get("censor")),
        ("Volumes censored", n_censored),
        ("Regressors", series.get("n_regressors")),
        ("Timepoints kept", series.get("n_timepoints")),
        ("Residual degrees of freedom", _round(series.get("residual_dof"))),
    ]


def _unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:g} {unit}"


def _spaced(text: str | None) -> str | None:
    return None if text is None else text.replace("_", " ")


def _round(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"


def light_rows(item: QualityInput) -> list[dict[str, str]]:
    """One row per known measure: value, threshold, other scans, and status."""
    rows = []
    for measure in MEASURES:
        value = item.row.get(measure.key)
        if value is None:
            continue
        other = item.others.get(measure.key)
        rows.append(
            {
                "light": light(measure, value, item.config, other),
                "label": measure.label,
                "value": measure.text(value),
                "threshold": threshold_text(measure, item.config),
                "knob": measure.knob,
                "others": measure.text(other.median) if other else "–",
                "z": f"{other.z(value):+.1f}" if other else "–",
            }
        )
    return rows


def threshold_text(measure: Measure, config: Config) -> str:
    """Format a threshold as ``at most 0.5 mm``; a dash if there is none."""
    limit = measure.threshold(config)
    if limit is None:
        return "–"
    words = "at most" if measure.bad == "high" else "at least"
    shown = f"{limit * measure.scale:g} {measure.unit}".rstrip()
    return f"{words} {shown}"


def output_rows(item: QualityInput, page: Path) -> list[dict[str, str]]:
    """Derivatives of the scan with checksums and relative links."""
    sums = dict(item.preprocessed.get("sha256") or [])
    rows = []
    for name, relative in sorted(item.preprocessed.get("outputs") or []):
        link = os.path.relpath(item.results / relative, page.parent)
        rows.append(
            {
                "name": name,
                "path": relative,
                "link": quote(link),
                "sha256": sums.get(name, ""),
            }
        )
    return rows
