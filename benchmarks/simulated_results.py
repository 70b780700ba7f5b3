"""Results of a study of many scans, simulated as the stages leave them, for `report_scale`.

One data set has scans, manifests, preprocess, series, FC, cohort, predictions of many methods and
repeats, metrics, ROC, calibration and learning curves; the pre-trained one has no scan.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from brainmass_core.config import parse_config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans.table import Unmatched, write_scans
from brainmass_core.tables import (
    CALIBRATION,
    CODINGS,
    COHORT,
    HISTORY,
    LEARNING_CURVE,
    MANIFEST,
    METRICS,
    PREDICTIONS,
    PREPROCESS,
    ROC,
    SCANS,
    connectivity_schema,
    from_rows,
    timeseries_schema,
    write_table,
)

N_ROIS, N_TIMEPOINTS = 100, 100
METHODS = [
    *("chance", "confounds_svm", "confounds_ridge", "fc_svm", "fc_logistic", "fc_ridge"),
    *("tangent_svm", "untrained_svm", "untrained_logistic", "brainmass_svm", "brainmass_logistic"),
    *("brainnetcnn", "transformer", "brainmass_finetune"),
]
N_REPEATS, N_FOLDS = 5, 5


def settings(folder: Path, batches: int) -> dict:
    """The configuration of the simulated study."""
    return {
        "results": str(folder / "results"),
        "datasets": {
            "many": {"kind": "bids", "role": "external", "path": str(folder), "batches": batches},
            "seen": {"kind": "timeseries", "role": "pretrain", "path": str(folder)},
        },
        "tasks": {
            "large": {
                "datasets": ["many"],
                "label": "dx",
                "classes": {"control": ["0"], "patient": ["1"]},
                "protocol": {"n_splits": N_FOLDS, "n_repeats": N_REPEATS},
            }
        },
        "finetune": {"methods": METHODS},
        "few_shot": {"shots": [1, 2, 4, 8, 16, 32]},
    }


def simulate(folder: Path, n_scans: int, batches: int = 64) -> Path:
    """Write the results; returns the path of the configuration."""
    raw = settings(folder, batches)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(raw))
    paths = Paths(parse_config(raw).results)
    rng = np.random.default_rng(0)
    scans = _scans(rng, n_scans, batches)
    write_scans(
        paths.scans("many"), scans, Unmatched("p.tsv", [f"ghost-{i}" for i in range(900)]), ""
    )
    _stages(paths, scans, rng)
    _seen(paths)
    _task(paths.finetune("large"), scans, rng)
    return config


def _scans(rng: np.random.Generator, n: int, batches: int) -> pd.DataFrame:
    person = np.arange(n) * 6 // 10  # some have two runs
    y = person % 2
    fate = rng.random(n)
    scans = pd.DataFrame(
        {
            "scan_id": [f"many_sub-{p:06d}_ses-{i % 3}_run-{i}" for i, p in enumerate(person)],
            "dataset": "many",
            "participant_id": [f"sub-{p:06d}" for p in person],
            "kind": "bids",
            "bold_path": [
                f"/data/many/sub-{p:06d}/func/{i}_bold.nii.gz" for i, p in enumerate(person)
            ],
            "t_r": 2.0,
            "n_volumes": 200,
            "site": [f"site-{p % 61:02d}" for p in person],
            "age": rng.normal(40, 15, n).round(1),
            "sex": np.where(rng.random(n) < 0.5, "F", "M"),
            "mean_fd": np.exp(rng.normal(-1.8, 0.5, n)),
            "role": "external",
            "split": "test",
            "batch": person % batches,
            "pheno_dx": y.astype(str),
        }
    )
    scans["excluded_reason"] = [
        f"/data/many/{i}: file is truncated at byte {i * 17}; fetch it again" if f < 0.01 else None
        for i, f in enumerate(fate)
    ]
    scans["status"] = np.select(
        [fate < 0.01, fate < 0.03, fate < 0.10], ["out", "failed", "excluded"], "ok"
    )
    scans.loc[fate > 0.98, "pheno_dx"] = None
    for column in set(SCANS.names) - set(scans):
        scans[column] = None
    return scans


def _stages(paths: Paths, scans: pd.DataFrame, rng: np.random.Generator) -> None:
    fc = rng.uniform(-1, 1, (1024, N_ROIS * (N_ROIS - 1) // 2)).astype(np.float32).round(2)
    bold = rng.standard_normal((N_TIMEPOINTS, N_ROIS)).astype(np.float32)
    for batch, here in scans[scans["status"] != "out"].groupby("batch"):
        number = int(batch)
        rows = [
            {
                "scan_id": s,
                "status": k,
                "mean_fd": fd,
                "tsnr": 60.0,
                "std_dvars": 1.1,
                "mask_dice": 0.9,
            }
            for s, k, fd in here[["scan_id", "status", "mean_fd"]].to_numpy().tolist()
        ]
        write_table(
            paths.batch("preprocess", "many", number), from_rows(rows, PREPROCESS), "preprocess"
        )
        ok = here.loc[here["status"] == "ok", "scan_id"].tolist()
        for stage, ids in (("preprocess", None), ("timeseries", ok), ("connectivity", ok)):
            entries = here if ids is None else here[here["status"] == "ok"]
            _manifest(paths, stage, number, entries)
        rows = [
            {
                "scan_id": s,
                "status": "ok",
                "atlas": "schaefer",
                "n_timepoints": 100,
                "residual_dof": 70.0,
            }
            for s in ok
        ]
        schema = timeseries_schema(N_ROIS)
        table = from_rows(rows, schema)
        series = _series(bold, len(ok), schema.field("bold").type)
        table = table.set_column(schema.get_field_index("bold"), schema.field("bold"), series)
        write_table(paths.batch("timeseries", "many", number), table, "timeseries")
        values = pa.array(fc[np.arange(len(ok)) % len(fc)].ravel())
        schema = connectivity_schema(N_ROIS)
        vectors = pa.FixedSizeListArray.from_arrays(values, type=schema.field("fc").type)
        columns = [
            pa.array(ok),
            pa.array(["pearson"] * len(ok)),
            pa.array([100] * len(ok)),
            vectors,
        ]
        table = pa.Table.from_arrays(columns, schema=schema)
        write_table(paths.batch("connectivity", "many", number), table, "connectivity")


def _series(bold: np.ndarray, n: int, kind: pa.DataType) -> pa.Array:
    """The same series (n_timepoints, n_rois) n times."""
    values = pa.array(np.tile(bold.ravel(), n))
    rows = pa.FixedSizeListArray.from_arrays(values, type=kind.value_type)
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * len(bold))
    return pa.ListArray.from_arrays(offsets, rows, type=kind)


def _manifest(paths: Paths, stage: str, batch: int, scans: pd.DataFrame) -> None:
    said = {
        "failed": "coregistration cost {0:.3f} above 0.9 in /data/many/{1}",
        "excluded": "mean framewise displacement {0:.3f} mm above 0.5 mm",
        "ok": "",
    }
    rows = [
        {
            "stage": stage,
            "dataset": "many",
            "batch": batch,
            "scan_id": s,
            "status": k,
            "reason": said[k].format(fd, s),
            "step": "coregistration" if k == "failed" else "",
            "remedy": "look at its page" if k != "ok" else "",
        }
        for s, k, fd in scans[["scan_id", "status", "mean_fd"]].to_numpy().tolist()
    ]
    write_table(paths.manifest(stage, "many", batch), from_rows(rows, MANIFEST), "manifest")


def _seen(paths: Paths) -> None:
    """The data set of the pre-training, of no scans, and its history."""
    none = pd.DataFrame({c: [] for c in SCANS.names})
    write_scans(paths.scans("seen"), none, Unmatched(), "")
    for stage, schema in (
        ("timeseries", timeseries_schema(N_ROIS)),
        ("connectivity", connectivity_schema(N_ROIS)),
    ):
        write_table(paths.batch(stage, "seen", 0), schema.empty_table(), stage)
    steps = [
        {
            "step": i,
            "epoch": i // 276,
            "lr": 3e-4,
            "loss": 1 + 4 / (1 + i / 500),
            "effective_rank": 30.0,
        }
        for i in range(20000)
    ]
    write_table(
        paths.pretrain("brainmass") / "history.parquet", from_rows(steps, HISTORY), "history"
    )


def _task(folder: Path, scans: pd.DataFrame, rng: np.random.Generator) -> None:
    labelled = scans["pheno_dx"].notna()
    used = labelled & (scans["status"] == "ok")
    stage = np.select(
        [scans["status"] == "out", scans["status"] != "ok", ~labelled],
        ["scans", "preprocess", "finetune"],
        None,
    )
    reason = np.where(stage == "finetune", "no value in column 'dx'", scans["excluded_reason"])
    lost = stage == "preprocess"
    reason[lost] = [f"mean framewise displacement {x:.3f} mm" for x in scans["mean_fd"][lost]]
    label = scans["pheno_dx"].map({"0": "control", "1": "patient"})
    cohort = scans.assign(
        task="large",
        label=scans["pheno_dx"],
        class_name=label,
        used=used,
        stage=stage,
        reason=reason,
    )
    cohort.loc[used, "reason"] = None
    _write(
        folder, "cohort", pa.Table.from_pandas(cohort[COHORT.names], COHORT, preserve_index=False)
    )
    _predictions(folder, scans[used], rng)
    values = {n: 0.6 + 0.01 * i for i, n in enumerate(METHODS)}
    rows = [_metrics(m, v, int(used.sum())) for m, v in values.items()]
    _write(folder, "metrics", from_rows(rows, METRICS))
    grid = np.linspace(0, 1, 101)
    rows = [
        {
            "task": "large",
            "method": m,
            "fpr": x,
            "tpr": x**0.6,
            "tpr_low": x**0.7,
            "tpr_high": x**0.5,
        }
        for m in METHODS
        for x in grid
    ]
    _write(folder, "roc", from_rows(rows, ROC))
    rows = [
        {
            "task": "large",
            "method": m,
            "class_number": 1,
            "bin": b,
            "n": 5000,
            "predicted": b / 10 + 0.05,
            "observed": b / 12 + 0.1,
        }
        for m in METHODS
        if "logistic" in m
        for b in range(10)
    ]
    _write(folder, "calibration", from_rows(rows, CALIBRATION))
    rows = [
        {"task": "large", "method": f"{f}_{c}", "k": k, "n_draws": 50, "n_folds": 5}
        | {
            f"{s}{e}": 0.5 + 0.05 * np.log2(k + 1) + d
            for s in ("auc", "balanced_accuracy")
            for e, d in _ENDS
        }
        for f in ("fc", "brainmass", "untrained")
        for c in ("svm", "logistic", "prototype", "knn")
        for k in (1, 2, 4, 8, 16, 32)
    ]
    _write(folder, "learning_curve", from_rows(rows, LEARNING_CURVE))


_ENDS = (("", 0), ("_low", -0.02), ("_high", 0.02), ("_draw_low", -0.1), ("_draw_high", 0.1))


def _metrics(method: str, value: float, n: int) -> dict:
    row = {"task": "large", "method": method, "kind": "classification", "leading": "auc"}
    row |= {"n_participants": n, "n_positive": n // 2, "n_scans": n, "n_repeats": N_REPEATS}
    for metric in ("accuracy", "auc", "sensitivity", "specificity", "balanced_accuracy", "f1"):
        row |= {metric: value, f"{metric}_low": value - 0.01, f"{metric}_high": value + 0.01}
    for metric in ("auc_minus_fc_svm", "minus_best"):
        row |= {metric: 0.01, f"{metric}_low": 0.0, f"{metric}_high": 0.02}
    return row | {"best_baseline": "transformer", "p_minus_best": 0.2, "p_permutation": 0.001}


def _predictions(folder: Path, used: pd.DataFrame, rng: np.random.Generator) -> None:
    n = len(used)
    y = (used["pheno_dx"] == "1").to_numpy(float)
    parts = []
    for method in METHODS:
        for repeat in range(N_REPEATS):
            score = rng.standard_normal(n) + 0.6 * y
            both = np.stack([-score, score], axis=1)
            chance = 1 / (1 + np.exp(-score))
            columns = {
                "task": pa.array(["large"] * n),
                "method": pa.array([method] * n),
                "repeat": pa.array(np.full(n, repeat)),
                "fold": pa.array(rng.integers(0, N_FOLDS, n)),
                "scan_id": pa.array(used["scan_id"]),
                "dataset": pa.array(used["dataset"]),
                "participant_id": pa.array(used["participant_id"]),
                "y_true": pa.array(y),
                "y_score": pa.array(score),
                "y_pred": pa.array((score > 0.3).astype(float)),
                "class_scores": pa.array(list(both), pa.list_(pa.float64())),
                "probability": pa.array(
                    list(np.stack([1 - chance, chance], 1)), pa.list_(pa.float64())
                ),
                "site": pa.array(used["site"]),
                "n_train": pa.array(np.full(n, 4 * n // 5)),
            }
            parts.append(pa.table(columns, schema=PREDICTIONS))
    _write(folder, "predictions", pa.concat_tables(parts))
    _write(folder, "codings", CODINGS.empty_table())


def _write(folder: Path, name: str, table: pa.Table) -> None:
    write_table(folder / f"{name}.parquet", table, name)
