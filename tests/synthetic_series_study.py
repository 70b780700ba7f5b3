"""A study with a BrainLM: groups differ in the dynamics of parcels, but not in FC."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.signal import lfilter
from synthetic_study import (
    BATCHES,
    N_ROIS,
    Study,
    write_fc,
    write_study,
    write_two_cohorts,
)

from brainmass_core.config import Config, parse_config
from brainmass_core.connectivity import pearson, vectorise
from brainmass_core.encoders.brainlm import model as brainlm
from brainmass_core.encoders.brainlm import vit as brainlm_vit
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import from_rows, read_table, timeseries_schema, write_table
from brainmass_core.timeseries import robust_scaling

WINDOW = 40
COORDINATES = np.random.default_rng(5).uniform(-60, 60, (N_ROIS, 3)).astype(np.float32)
BUILD = {"brainlm-tiny": brainlm.build, "brainlm-vit-tiny": brainlm_vit.build}


def write_series_study(
    folder: Path,
    *,
    model: str = "brainlm-tiny",
    methods: tuple[str, ...] | None = None,
    n_timepoints: int = 200,
    effect: float = 0.7,
    locked: float = 0.0,
    n_participants: int = 60,
    brainlm: dict | None = None,
    **task: object,
) -> Study:
    """Scans, series, FC and a model of the untrained weights of another seed.

    Parameters
    ----------
    effect : float
        Autocorrelation of all parcels of patients; controls have its negative. Parcels are
        independent and of variance 1. To change the sign of every second timepoint turns one
        group into the other and leaves all products of parcels as they are: FC cannot tell.
    locked : float
        Amplitude of waves that begin with the recording in patients, of another frequency in
        each parcel, so that FC cannot tell; linear classifiers of an embedding can.
    """
    study = write_study(folder, effect=0.0, n_participants=n_participants, **task)
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["pretrain"] = {"model": model, "brainlm": {"window": WINDOW} | (brainlm or {})}
    raw["finetune"] = {"n_bootstrap": 200}
    if methods:
        raw["finetune"]["methods"] = list(methods)
    study = Study(parse_config(raw), study.scans)
    set_series(study, dynamic(study.scans, n_timepoints, effect, locked, seed=1))
    write_brainlm(study)
    return study


def write_two_series_cohorts(folder: Path, zero_shot_from="demo_task", **task: object) -> Study:
    """As `write_two_cohorts`, with the dynamics of `write_series_study` and a model of it.

    The scans are those of the second cohort.
    """
    study = write_two_cohorts(folder, zero_shot_from, **task)
    raw = study.config.model_dump(mode="json", exclude_unset=True)
    raw["pretrain"] = {"model": "brainlm-tiny", "brainlm": {"window": WINDOW}}
    raw["few_shot"] = {"shots": [2, 8], "n_draws": 4}
    del raw["finetune"]["methods"]
    study = Study(parse_config(raw), study.scans)
    first = read_table(study.paths.scans("demo"), "scans").to_pandas()
    for seed, (name, scans) in enumerate({"demo": first, "replication": study.scans}.items()):
        set_series(study, dynamic(scans, 80, 0.0, 1.0, seed), dataset=name)
    corpus = timeseries_schema(N_ROIS).empty_table()
    write_table(study.paths.batch("timeseries", "corpus", 0), corpus, "timeseries")
    write_brainlm(Study(study.config, first))
    return study


def dynamic(
    scans: pd.DataFrame, n_timepoints: int, effect: float, locked: float, seed: int
) -> dict[str, np.ndarray]:
    """scan_id to series of the dynamics of its group, see `write_series_study`."""
    rng = np.random.default_rng(seed)
    patients = dict(zip(scans["scan_id"], scans["pheno_dx"] == "2.0", strict=True))
    t, i = np.arange(n_timepoints)[:, None], np.arange(N_ROIS)
    waves = (locked * np.cos(2 * np.pi * (i + 1) * t / WINDOW)).astype(np.float32)
    return {
        s: _series(rng, n_timepoints, effect if patient else -effect) + patient * waves
        for s, patient in patients.items()
    }


def set_series(
    study: Study,
    bold: dict[str, np.ndarray],
    t_r: dict[str, float] | None = None,
    dataset: str = "demo",
) -> None:
    """Replace series (n_timepoints, n_rois) in the tables."""
    for batch in range(BATCHES):
        path = study.paths.batch("timeseries", dataset, batch)
        rows = read_table(path, "timeseries").to_pylist()
        for row in rows:
            if row["scan_id"] in bold:
                x = bold[row["scan_id"]].astype(np.float32)
                row |= {"bold": x.tolist(), "n_timepoints": len(x)}
            row["t_r"] = (t_r or {}).get(row["scan_id"], row["t_r"])
        write_table(path, from_rows(rows, timeseries_schema(N_ROIS)), "timeseries")
        fc = {r["scan_id"]: vectorise(pearson(np.array(r["bold"], np.float32))) for r in rows}
        write_fc(study.paths, batch, fc, dataset)


def spoil(path: Path, scan_id: str) -> None:
    """Set one value of one scan of a time-series table to NaN, which the stage never writes."""
    table = read_table(path, "timeseries")
    rows = table.to_pylist()
    row = next(row for row in rows if row["scan_id"] == scan_id)
    row["bold"][9][4] = float("nan")
    write_table(path, from_rows(rows, table.schema), "timeseries")


def write_brainlm(study: Study, **about: object) -> None:
    """A model folder as `pretrain` writes it, the scaling fitted to scans that are not tested."""
    shown = set(study.scans.loc[study.scans["split"] != "test", "scan_id"])
    scaling = robust_scaling.fit(x for s, x in series_of(study).items() if s in shown)
    store_brainlm(study.config, scaling, about)


def store_brainlm(
    config: Config, scaling: robust_scaling.RobustScaling, about: dict[str, object] | None = None
) -> None:
    """The same with this scaling, whatever the tables contain; `about` overrides its metadata."""
    name = config.pretrain.model
    stored = {"version": robust_scaling.VERSION, **scaling.__dict__, "sha256": scaling.digest}
    described = {"atlas": "rings", "t_r": 2.0, "scaling": stored, "model": name}
    described |= {"coordinates": COORDINATES.tolist()} | (about or {})
    BUILD[name]("tiny", seed=3).save_pretrained(Paths(config.results).pretrain(name), described)


def about_model(study: Study) -> dict:
    """Metadata in the model's folder."""
    folder = study.paths.pretrain(study.config.pretrain.model)
    return json.loads((folder / "config.json").read_text())


def series_of(study: Study) -> dict[str, np.ndarray]:
    """scan_id to series (n_timepoints, n_rois), read row by row from the tables."""
    rows: list[dict] = []
    for batch in range(BATCHES):
        rows += read_table(study.paths.batch("timeseries", "demo", batch), "timeseries").to_pylist()
    return {r["scan_id"]: np.array(r["bold"], np.float32) for r in rows}


def results(study: Study, name: str, task: str = "demo_task") -> pd.DataFrame:
    """A table of the task."""
    return read_table(study.paths.finetune(task) / f"{name}.parquet", name).to_pandas()


def _series(rng: np.random.Generator, n: int, phi: float) -> np.ndarray:
    """(n, n_rois) first-order autoregressions of variance 1."""
    noise = rng.standard_normal((n + 100, N_ROIS))
    x = lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise, axis=0)
    return x[100:].astype(np.float32)


def embedding_by_hand(
    model: torch.nn.Module, series: np.ndarray, scaling: dict, n_windows: int | None = None
) -> np.ndarray:
    """The mean embedding of one recording, or of its first windows, spelt out."""
    centred = series - series.mean(axis=0)
    x = (centred - np.array(scaling["median"])) / np.array(scaling["iqr"])
    found = []
    for start in range(0, len(x) - WINDOW + 1, WINDOW):
        window = torch.tensor(x[start : start + WINDOW].T[None], dtype=torch.float32)
        with torch.no_grad():
            found.append(model.encode(window, torch.from_numpy(COORDINATES))[0].numpy())
    return np.mean(found[:n_windows], axis=0)
