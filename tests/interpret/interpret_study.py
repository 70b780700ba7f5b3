"""A cohort with a difference planted in five known regions of forty."""

from __future__ import annotations

import numpy as np
import pandas as pd

from brainmass_core.config.sections import Interpret
from brainmass_core.connectivity import pearson, vectorise
from brainmass_core.encoders.brainmass.implementation import IMPLEMENTATION
from brainmass_core.encoders.brainmass.model import build
from brainmass_core.finetune.cohort.dataset import TaskData
from brainmass_core.finetune.folds.participants import Fold, make_folds
from brainmass_core.finetune.methods.embedding import embed
from brainmass_core.interpret.explain import FcModel, explain_folds
from brainmass_core.interpret.stage import attend
from brainmass_core.interpret.summary import region_rows, stability_rows

N_ROIS = 40
N_TIMEPOINTS = 80
PLANTED = (3, 11, 17, 26, 38)
CLASSES = ["control", "patient"]
NO_PREDICTIONS = pd.DataFrame({"method": []})
SMALL = Interpret(n_steps=8, max_scans=20)


def cohort(effect: float, seed: int = 0, n: int = 120) -> TaskData:
    """Two classes with `n` participants in total; in patients five regions share a signal more
    strongly.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    series = []
    for patient in y:
        slow = rng.standard_normal((N_TIMEPOINTS, 4))
        one = slow[:, np.arange(N_ROIS) % 4] + 1.2 * rng.standard_normal((N_TIMEPOINTS, N_ROIS))
        one[:, PLANTED] += effect * patient * rng.standard_normal((N_TIMEPOINTS, 1))
        series.append(one)
    scans = pd.DataFrame({"scan_id": [f"s{i:03d}" for i in range(n)], "y": y, "site": "here"})
    scans["participant"], scans["split"] = scans["scan_id"], "test"
    scans["dataset"] = "planted"
    scans["class_name"] = np.array(CLASSES)[y]
    fc = np.stack([vectorise(pearson(s)) for s in series]).astype(np.float32)
    return TaskData(scans, fc, scans, "pearson")


def labels() -> pd.DataFrame:
    """Names and networks without coordinates."""
    names = [f"roi-{i}" for i in range(N_ROIS)]
    network = ["Vis", "SomMot", "Limbic", "Default"] * (N_ROIS // 4)
    return pd.DataFrame({"name": names, "network": network, "x": np.nan, "y": np.nan, "z": np.nan})


def regions_of(
    data: TaskData,
    settings: Interpret = SMALL,
    encoder: bool = True,
    folds: list[Fold] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Regions and stability, over five folds by default; the encoder has random weights."""
    folds = folds or make_folds(data.scans, n_splits=5, n_repeats=1, seed=1)
    model, attention = None, None
    if encoder:
        network = build("tiny", N_ROIS, seed=3).eval().requires_grad_(False)
        model = FcModel(network, embed(network, data.fc), IMPLEMENTATION.transformer)
        attention = attend(model, data, np.arange(len(data.scans)), CLASSES)
    found = explain_folds(data, folds, settings, model, attention, seed=5)
    stability = stability_rows(found, data, settings, NO_PREDICTIONS)
    return pd.DataFrame(region_rows(found, labels(), stability, settings)), pd.DataFrame(stability)
