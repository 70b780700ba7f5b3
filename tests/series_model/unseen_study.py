"""A results folder after pre-training of a BrainLM, with initial weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from brainmass_core.config import Config, parse_config
from brainmass_core.config.load import deep_merge
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.artefacts import describe
from brainmass_core.pretrain.data.views import index_shards
from brainmass_core.pretrain.loop.checkpoint import State
from brainmass_core.pretrain.model_specs import model_spec_of
from brainmass_core.scans.table import Unmatched, write_scans
from brainmass_core.tables import SCANS, from_rows, timeseries_schema, write_table

N_ROIS = 20
SHORT = 3  # one in so many scans of `c` is too short
QUICK = {
    "task": "dx",
    "observed_steps": 40,
    "predicted_steps": 20,
    "epochs": 2,
    "n_permutations": 5,
    "gcn_permutations": 0,
    "search_steps": 20,
    "restarts": 2,
    "search_draws": 2,
}
NETWORKS = ("Vis", "SomMot", "Limbic", "Default")


@dataclass(frozen=True)
class Study:
    config: Config
    raw: dict

    @property
    def paths(self) -> Paths:
        return Paths(self.config.results)

    def changed(self, **sections: Any) -> Study:
        """The same results under another configuration."""
        raw = deep_merge(self.raw, sections)
        return Study(parse_config(raw), raw)


def write_study(folder: Path, model: str = "brainlm-tiny", **sections: Any) -> Study:
    """Data sets `a` internal (half of 12 kept for evaluation), `b` to pre-train on, `c` external.

    Series are slow; those of the class `patient` are higher in the first four parcels at the end
    of the scan. In every third one of `c` they are too short.
    """
    labels = folder / "labels.tsv"
    xyz = np.random.default_rng(1).integers(-60, 60, (N_ROIS, 3))
    names = [NETWORKS[i * 4 // N_ROIS] for i in range(N_ROIS)]
    pd.DataFrame(xyz, columns=["x", "y", "z"]).assign(
        index=np.arange(1, N_ROIS + 1), name=[f"roi-{i}" for i in range(N_ROIS)], network=names
    ).to_csv(labels, sep="\t", index=False)
    ready = {"kind": "timeseries", "path": str(folder)}
    raw = {
        "results": str(folder / "results"),
        "allow_same_ids": ["p*"],
        "datasets": {
            "a": ready | {"role": "internal", "batches": 2},
            "b": ready | {"role": "pretrain"},
            "c": ready | {"role": "external"},
        },
        "atlas": {"name": "toy", "n_rois": N_ROIS, "labels": str(labels)},
        "pretrain": {
            "model": model,
            "brainlm": {"window": 40, "mask_ratio": 0.5},
            "processes_per_node": 1,
        },
        "tasks": {
            "dx": {
                "datasets": ["a", "c"],
                "label": "dx",
                "classes": {"control": ["1"], "patient": ["2"]},
            }
        },
        "finetune": {"methods": ["chance", "fc_svm"]},
        "interpret": {"methods": []},
        "series_model": {"analyses": ["reconstruction"], "n_draws": 100} | QUICK,
    }
    raw = deep_merge(raw, sections)
    study = Study(parse_config(raw), raw)
    write_scans_of(study, "a", 12, ["test", "train"])
    write_scans_of(study, "b", 4, ["pretrain"])
    write_scans_of(study, "c", 6, ["test"], SHORT)
    write_model(study)
    return study


def write_scans_of(
    study: Study, name: str, n: int, splits: list[str], short: int = 0
) -> pd.DataFrame:
    batches = study.config.datasets[name].batches
    rng = np.random.default_rng(len(name) + ord(name))
    scans, series = [], {b: [] for b in range(batches)}
    for k in range(n):
        dx = 1 + k // (3 if name == "c" else 2) % 2
        scan = {
            "scan_id": f"{name}{k:02}",
            "dataset": name,
            "participant_id": f"p{k:02}",
            "kind": "timeseries",
            "bold_path": f"/{name}/{k}.npy",
            "role": study.config.datasets[name].role,
            "split": splits[k % len(splits)],
            "batch": k % batches,
            "pheno_dx": str(dx),
        }
        scans.append(dict.fromkeys(SCANS.names) | scan)
        bold = _series(rng, 30 if short and k % short == 0 else 60 + k, dx == 2)
        series[k % batches].append(
            {
                "scan_id": scan["scan_id"],
                "status": "ok",
                "coverage": [1.0] * N_ROIS,
                "t_r": 2.0,
                "n_timepoints": len(bold),
                "bold": bold.tolist(),
            }
        )
    table = pd.DataFrame(scans, columns=[*SCANS.names, "pheno_dx"])
    write_scans(study.paths.scans(name), table, Unmatched("participants.tsv", [], []), "hash")
    for batch, rows in series.items():
        made_by = stage_hash(study.config, "timeseries", name)
        path = study.paths.batch("timeseries", name, batch)
        write_table(path, from_rows(rows, timeseries_schema(N_ROIS)), "timeseries", made_by)
    return table


def _series(rng: np.random.Generator, n: int, patient: bool) -> np.ndarray:
    slow = np.cumsum(rng.standard_normal((n, len(NETWORKS))), axis=0) / 3
    x = slow[:, np.arange(N_ROIS) * 4 // N_ROIS] + 0.3 * rng.standard_normal((n, N_ROIS))
    x[:40, :4] += 3.0 * patient
    return (100 + x).astype(np.float32)


def write_model(study: Study) -> None:
    """Initial weights, with the scaling and coordinates that training would compute."""
    config = study.config
    index, spec = index_shards(config), model_spec_of(config.pretrain)
    model = spec.build(config, index.n_rois)
    state = State(1, 1, 4, model.state_dict(), {}, torch.zeros(1, 1), spec.constants(config, index))
    about = describe(config, index, state, model)
    model.save_pretrained(study.paths.pretrain(config.pretrain.model), about)
