"""A results folder after the stages before `finetune`, with a planted group difference."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from brainmass_core.config import Config, parse_config
from brainmass_core.connectivity import pearson, vectorise
from brainmass_core.models.pretrained import seal
from brainmass_core.pipeline.manifest import Entry, write_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans.table import Unmatched, write_scans
from brainmass_core.tables import (
    HISTORY,
    SCANS,
    connectivity_schema,
    from_rows,
    pfc_schema,
    read_table,
    timeseries_schema,
    write_table,
)
from brainmass_core.timeseries.identity import series_fingerprint

N_ROIS = 20
N_TIMEPOINTS = 80
BATCHES = 2
NETWORKS = ["Vis", "SomMot", "Limbic", "Default"]
METHODS = ("chance", "confounds_svm", "fc_svm", "tangent_ridge", "untrained_svm", "brainmass_svm")


@dataclass(frozen=True)
class Study:
    config: Config
    scans: pd.DataFrame

    @property
    def paths(self) -> Paths:
        return Paths(self.config.results)


def shared(
    built_once: Callable[[str, Callable[[Path], object]], Path],
    name: str,
    write: Callable[[Path], Study],
) -> Study:
    """The study that ``write(folder)`` writes, once per run of pytest (`conftest.built_once`).

    Other tests read the same folder: a test that changes it takes a `copy_of` it.
    """

    def build(folder: Path) -> None:
        study = write(folder)
        (folder / "study.pkl").write_bytes(pickle.dumps(study))

    return pickle.loads((built_once(name, build) / "study.pkl").read_bytes())


def copy_of(study: Study, folder: Path) -> Study:
    """The same study with separate results in ``folder/results``, which a test may change."""
    results = folder / "results"
    shutil.copytree(study.config.results, results)
    return replace(study, config=study.config.model_copy(update={"results": results}))


def write_finished(folder: Path) -> Study:
    """Two scans of each participant and a model, after `finetune` with `METHODS`."""
    from brainmass_core.finetune import run

    study = write_study(folder, methods=METHODS, runs=2)
    write_model(study)
    run(study.config, "demo_task")
    return study


def write_study(
    folder: Path,
    *,
    n_participants: int = 60,
    effect: float = 1.0,
    seed: int = 0,
    runs: int = 1,
    methods: tuple[str, ...] = ("chance", "confounds_svm", "fc_svm"),
    role: str = "internal",
    motion_effect: float = 0.0,
    **task: object,
) -> Study:
    """Write scans, manifests, series, FC, pseudo-FC and a pre-training history.

    Parameters
    ----------
    effect : float
        Coupling that patients have more of between the first two networks.
    task : dict
        Laid over the settings of the task ``demo_task``.
    """
    config = make_config(folder, methods=methods, role=role, **task)
    rng = np.random.default_rng(seed)
    scans = _scans(rng, n_participants, runs, role, motion_effect)
    paths = Paths(config.results)
    unmatched = Unmatched("participants.tsv", ["ghost-1"], ["s59"])
    write_scans(paths.scans("demo"), scans, unmatched, "hash")
    bold = {s.scan_id: _series(rng, s.pheno_dx == "2.0", effect) for s in scans.itertuples()}
    for batch in range(BATCHES):
        _write_batch(paths, scans[scans["batch"] == batch], batch, bold)
    if role == "external":  # pFC to pre-train on, of no participant
        write_scans(paths.scans("other"), scans.iloc[:0], unmatched, "hash")
        write_table(paths.batch("pfc", "other", 0), pfc_schema(N_ROIS).empty_table(), "pfc")
    _write_history(paths)
    return Study(config, scans)


def write_two_cohorts(folder: Path, zero_shot_from="demo_task", **task: object) -> Study:
    """An internal cohort, an external one with different series, and one participant to pre-train
    on.

    Tasks: ``demo_task`` on the first, ``unseen`` carried over to the second without its labels, and
    ``across``, trained on the first and tested on the second. `task` is laid over all of them.
    """
    study = write_study(folder / "first", **task)
    write_model(study)
    config = of_two_cohorts(study.config, zero_shot_from)
    scans = _write_replication(study.paths, write_study(folder / "second", seed=1))
    write_corpus(study.paths, "/corpus/x.npy")
    return Study(config, scans)


def of_two_cohorts(config: Config, zero_shot_from: object = "demo_task") -> Config:
    """The configuration of `write_two_cohorts` from that of its first cohort."""
    raw = config.model_dump(mode="json", exclude_unset=True)
    demo = raw["datasets"]["demo"]
    raw["datasets"]["replication"] = demo | {"role": "external"}
    raw["datasets"]["corpus"] = demo | {"role": "pretrain", "batches": 1}
    task = raw["tasks"]["demo_task"]
    raw["tasks"]["unseen"] = task | {
        "datasets": ["replication"],
        "zero_shot_from": zero_shot_from,
    }
    raw["tasks"]["across"] = task | {
        "datasets": ["demo", "replication"],
        "protocol": {"kind": "cross_cohort", "train_datasets": ["demo"]},
    }
    raw["few_shot"] = {"shots": [1, 8], "n_draws": 4, "features": ["fc"]}
    return parse_config(raw)


def _write_replication(paths: Paths, other: Study) -> pd.DataFrame:
    """The tables of another study, under another name of the data set."""
    scans = other.scans.assign(
        dataset="replication", role="external", split="test", scan_id=_renamed(other.scans)
    )
    scans["bold_path"] = "/replication" + scans["bold_path"]
    scans["participant_id"] = "r" + scans["participant_id"]
    write_scans(paths.scans("replication"), scans, Unmatched("participants.tsv", [], []), "hash")
    for stage in ("timeseries", "connectivity"):
        for batch in range(BATCHES):
            source = read_table(other.paths.batch(stage, "demo", batch), stage)
            column = source.schema.get_field_index("scan_id")
            names = _renamed(source.select(["scan_id"]).to_pandas()).tolist()
            write_table(
                paths.batch(stage, "replication", batch),
                source.set_column(column, "scan_id", [names]),
                stage,
            )
    return scans


def _renamed(table: pd.DataFrame) -> pd.Series:
    return table["scan_id"].str.replace("demo_", "replication_")


def write_corpus(
    paths: Paths, bold_path: str, participant_id: str = "x", **marks: str | None
) -> None:
    """One scan of one participant that pre-training used; `marks` state what it is a copy of."""
    row = {"scan_id": "corpus_x", "dataset": "corpus", "kind": "timeseries"}
    row |= {"participant_id": participant_id}
    series = from_rows([{"scan_id": "corpus_x", "status": "ok"} | marks], timeseries_schema(N_ROIS))
    write_table(paths.batch("timeseries", "corpus", 0), series, "timeseries")
    row |= {"bold_path": bold_path, "role": "pretrain", "split": "pretrain", "batch": 0}
    scans = pd.DataFrame([dict.fromkeys(SCANS.names) | row])
    write_scans(paths.scans("corpus"), scans, Unmatched("participants.tsv", [], []), "hash")
    write_table(
        paths.batch("pfc", "corpus", 0), from_rows([shard("corpus_x")], pfc_schema(N_ROIS)), "pfc"
    )


def shard(scan_id: str) -> dict:
    """A row of `pfc`."""
    fc = bytes(N_ROIS * (N_ROIS - 1))
    return {"scan_id": scan_id, "view": 0, "n_kept": 64, "seed": 1, "fc": fc}


def add_to_shards(study: Study, scan_id: str) -> None:
    """Make pre-training use a scan of the first cohort."""
    path = study.paths.batch("pfc", "demo", 0)
    rows = [*read_table(path, "pfc").to_pylist(), shard(scan_id)]
    write_table(path, from_rows(rows, pfc_schema(N_ROIS)), "pfc")


def make_config(folder: Path, *, methods=("fc_svm",), role="internal", **task) -> Config:
    labels = folder / "labels.tsv"
    folder.mkdir(parents=True, exist_ok=True)
    angle = np.linspace(0, 2 * np.pi, N_ROIS, endpoint=False)
    pd.DataFrame(
        {
            "index": np.arange(1, N_ROIS + 1),
            "name": [f"roi-{i}" for i in range(N_ROIS)],
            "network": [NETWORKS[i % len(NETWORKS)] for i in range(N_ROIS)],
            "x": 50 * np.cos(angle),
            "y": 60 * np.sin(angle) - 20,
            "z": np.linspace(-20, 50, N_ROIS),
        }
    ).to_csv(labels, sep="\t", index=False)
    raw = {
        "results": str(folder / "results"),
        "seed": 7,
        "datasets": {
            "demo": {"kind": "timeseries", "role": role, "path": str(folder), "batches": BATCHES}
        },
        "atlas": {"name": "rings", "labels": str(labels)},
        "pretrain": {"size": "tiny"},
        "tasks": {
            "demo_task": {
                "datasets": ["demo"],
                "label": "dx",
                "classes": {"control": ["1"], "patient": ["2"]},
                "protocol": {"n_splits": 3, "n_repeats": 2},
                **task,
            }
        },
        "finetune": {"methods": list(methods), "n_bootstrap": 200},
    }
    if role == "external":
        raw["datasets"]["other"] = {"kind": "timeseries", "role": "pretrain", "path": str(folder)}
    return parse_config(raw)


def _scans(rng, n: int, runs: int, role: str, motion_effect: float) -> pd.DataFrame:
    rows = []
    for i in range(n):
        dx = "2.0" if i % 2 else "1.0"
        split = "test" if role == "external" or i % 5 < 3 else "train"
        fd = float(np.exp(rng.normal(-1.8, 0.4)) + motion_effect * (i % 2))
        age = float(rng.integers(18, 60)) if i % 11 else np.nan
        for run in range(runs):
            rows.append(
                {
                    "scan_id": f"demo_s{i:02d}_run-{run}",
                    "dataset": "demo",
                    "participant_id": f"s{i:02d}",
                    "kind": "timeseries",
                    "bold_path": f"/data/s{i:02d}{f'_{run}' if run else ''}.npy",
                    "t_r": 2.0,
                    "n_volumes": N_TIMEPOINTS,
                    "site": "north" if (i // 2) % 2 else "south",
                    "age": age,
                    "sex": "F" if rng.random() < 0.5 else "M",
                    "mean_fd": fd,
                    "role": role,
                    "split": split,
                    "batch": i % BATCHES,
                    "pheno_dx": dx,
                }
            )
    scans = pd.DataFrame(rows)
    for column in set(SCANS.names) - set(scans):
        scans[column] = None
    scans.loc[scans["participant_id"] == "s00", "excluded_reason"] = (
        "/data/s00.npy: file is truncated; fetch it again"
    )
    scans.loc[scans["participant_id"] == "s01", "pheno_dx"] = None
    scans.loc[scans["participant_id"] == "s02", "pheno_dx"] = "9"
    return scans


def _series(rng, patient: bool, effect: float) -> np.ndarray:
    """(n_timepoints, n_rois): one slow signal per network, two of them coupled in patients."""
    slow = rng.standard_normal((N_TIMEPOINTS, len(NETWORKS)))
    if patient:
        slow[:, 1] += effect * slow[:, 0]
    series = slow[:, np.arange(N_ROIS) % len(NETWORKS)]
    return (series + 1.2 * rng.standard_normal((N_TIMEPOINTS, N_ROIS))).astype(np.float32)


def _write_batch(paths: Paths, scans: pd.DataFrame, batch: int, bold: dict) -> None:
    alive = scans[scans["excluded_reason"].isna()]
    lost = alive[alive["participant_id"] == "s03"]["scan_id"].tolist()
    entries = [
        Entry("timeseries", "demo", batch, s, "excluded", "1 of 20 parcels are constant", "parcels")
        if s in lost
        else Entry("timeseries", "demo", batch, s, "ok")
        for s in alive["scan_id"]
    ]
    write_manifest(paths.manifest("timeseries", "demo", batch), entries, "hash")
    rows = [
        {
            "scan_id": s,
            "status": "ok",
            "atlas": "rings",
            "n_rois": N_ROIS,
            "n_timepoints": N_TIMEPOINTS,
            "t_r": 2.0,
            "source_checksum": sha256(bold[s].tobytes()).hexdigest(),
            "series_fingerprint": series_fingerprint(bold[s]),
            "bold": bold[s].tolist(),
        }
        for s in alive["scan_id"]
        if s not in lost
    ]
    table = from_rows(rows, timeseries_schema(N_ROIS))
    write_table(paths.batch("timeseries", "demo", batch), table, "timeseries")
    kept = alive[~alive["scan_id"].isin(lost)]
    for stage, ids in (
        ("connectivity", kept["scan_id"]),
        ("pfc", kept.loc[kept["split"] != "test", "scan_id"]),
    ):
        entries = [Entry(stage, "demo", batch, s, "ok") for s in ids]
        write_manifest(paths.manifest(stage, "demo", batch), entries, "hash")
    write_fc(paths, batch, {s: vectorise(pearson(bold[s])) for s in kept["scan_id"]})
    rows = [shard(s) for s in kept.loc[kept["split"] != "test", "scan_id"]]
    write_table(
        paths.batch("pfc", "demo", batch), pa.Table.from_pylist(rows, pfc_schema(N_ROIS)), "pfc"
    )


def write_fc(paths: Paths, batch: int, fc: dict[str, np.ndarray], dataset: str = "demo") -> None:
    rows = [
        {"scan_id": s, "estimator": "pearson", "n_timepoints": N_TIMEPOINTS, "fc": v.tolist()}
        for s, v in fc.items()
    ]
    table = from_rows(rows, connectivity_schema(N_ROIS))
    write_table(paths.batch("connectivity", dataset, batch), table, "connectivity")


def _write_history(paths: Paths) -> None:
    steps = np.arange(1, 41)
    rows = [
        {
            "step": int(s),
            "epoch": int(s // 4),
            "lr": 3e-4,
            "loss": 4 * np.exp(-s / 20) + 1,
            "loss_alignment": 4 * np.exp(-s / 20),
            "loss_classification": 2.3 * np.exp(-s / 200),
            "loss_reconstruction": 0.5 * np.exp(-s / 30),
            "embedding_std": 0.5,
            "effective_rank": 12.0 if s % 10 == 0 else None,
            "view_distance": 0.2 if s % 10 == 0 else None,
            "uniformity": -2.0 if s % 10 == 0 else None,
        }
        for s in steps
    ]
    table = from_rows(rows, HISTORY)
    write_table(paths.pretrain("brainmass") / "history.parquet", table, "history")


def write_model(study: Study, n_rois: int = N_ROIS, **settings: object) -> None:
    """A model folder as `pretrain` writes it, with random weights."""
    from safetensors.torch import save_file

    from brainmass_core.encoders.brainmass.model import build

    folder = study.paths.pretrain("brainmass")
    folder.mkdir(parents=True, exist_ok=True)
    model = build("tiny", n_rois, seed=3)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    described = {
        "model": "brainmass",
        "size": "tiny",
        "n_rois": n_rois,
        "heads": model.heads,
        "atlas": "rings",
        "estimator": "pearson",
        **settings,
    }
    (folder / "config.json").write_text(json.dumps(described))
    seal(folder)
