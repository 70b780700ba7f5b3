"""What each choice of the pre-training does to a diagnosis: ABIDE, 460 participants, CC200.

For each seed the participants are split anew (30 % are kept for evaluation), and each variant
pre-trains a model on the others without their labels, one choice changed at a time. The probe is
the `brainmass_svm` of the task on the kept participants (5 x 5 folds); `fc_svm` and
`untrained_svm` stand beside it on the same folds. Printed per variant and seed: AUC with its
interval, and its difference from FC with the interval over the same bootstrap draws. All of it is
in the CSV that `--out` names.

The variants were fixed before any of them was run; windows with Fisher z, the views of the
authors' code of 2026, were added later. ``--methods`` chooses other methods, such as the readouts
``brainmass_tokens_svm`` and ``fc_brainmass_svm`` with their controls. Run, with data that are not
part of this repository: ``python benchmarks/abide_pretraining.py DATA --out ablation.csv``, where
DATA holds ``abide_pcp_dev`` and ``atlas_pcp_abide`` (about 8 CPU-minutes per variant and seed,
`small` an hour, on the machine that it was written on).
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from abide import prepare, task, write
from abide import settings as abide

from brainmass_core import finetune, pfc
from brainmass_core.config.load import deep_merge
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.launch import torchrun
from brainmass_core.tables import read_table

DEFAULT = "default"
VARIANTS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "masking rows_and_columns": {"pretrain": {"masking": "rows_and_columns"}},
    "drop rate 0.1": {"pfc": {"drop_rate": 0.1}},
    "drop rate 0.4": {"pfc": {"drop_rate": 0.4}},
    "lambda 5, 200": {"pretrain": {"lambda_classification": 5.0, "lambda_reconstruction": 200.0}},
    "alignment alone": {"pretrain": {"lambda_classification": 0.0, "lambda_reconstruction": 0.0}},
    "masked ROIs frozen, as released": {"pretrain": {"train_heads": False}},
    "size small": {"pretrain": {"size": "small"}},
    "windows of 60, Fisher z": {"pfc": {"window": 60}, "pretrain": {"fisher_z": True}},
}
SHARED = ("scans", "timeseries", "connectivity", "manifest")
METHODS = ["fc_svm", "untrained_svm", "brainmass_svm"]
COLUMNS = ["n_participants", "auc", "auc_low", "auc_high", "auc_minus_fc_svm"]
COLUMNS += ["auc_minus_fc_svm_low", "auc_minus_fc_svm_high"]


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the ABIDE series and atlas.")],
    out: Annotated[Path, typer.Option(help="CSV that rows are appended to.")],
    seeds: Annotated[str, typer.Option(help="Seeds of split and training.")] = "42,1,2",
    epochs: Annotated[int, typer.Option()] = 6,
    only: Annotated[str, typer.Option(help="Variants whose name holds this text.")] = "",
    methods: Annotated[str, typer.Option(help="By commas.")] = ",".join(METHODS),
    repeats: Annotated[int, typer.Option(help="Repeats of the five folds.")] = 5,
    neural_epochs: Annotated[int, typer.Option(help="Of fine-tuning, at most.")] = 15,
) -> None:
    """Run the variants one after the other; a row is written as soon as it is known."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="brainmass-abide-") as name:
        for seed in map(int, seeds.split(",")):
            base = Path(name) / f"seed-{seed}"
            settings = _settings(data, seed, epochs) | {
                "finetune": {"methods": methods.split(","), "deploy": None},
                "neural": {"max_epochs": neural_epochs},
                "tasks": {"abide1": task(n_splits=5, n_repeats=repeats)},
            }
            prepare(write(base, settings))
            for variant, change in VARIANTS.items():
                if only in variant:
                    rows = _run(base, deep_merge(settings, change))
                    _report(out, rows.assign(variant=variant, seed=seed, epochs=epochs))


def _settings(data: Path, seed: int, epochs: int) -> dict[str, Any]:
    return abide(data) | {
        "seed": seed,
        "pretrain": {"size": "tiny", "epochs": epochs, "warmup_epochs": 2, "batch_size": 32},
        "resources": {"pretrain": {"cpus_per_task": 1}},
    }


def _run(base: Path, settings: dict[str, Any]) -> pd.DataFrame:
    """Pre-train and evaluate one variant beside the upstream tables of its seed."""
    folder = base / "variant"
    config = write(folder, settings)
    for stage in SHARED:
        shutil.copytree(base / "results" / stage, folder / "results" / stage)
    start = time.perf_counter()
    for batch in range(config.datasets["abide"].batches):
        pfc.run(config, "abide", batch)
    torchrun.run(config, folder / "config.yaml")
    seconds = time.perf_counter() - start
    finetune.run(config, "abide1")
    table = read_table(Paths(config.results).finetune("abide1") / "metrics.parquet", "metrics")
    history = read_table(
        Paths(config.results).pretrain("brainmass") / "history.parquet", "history"
    ).to_pandas()
    shutil.rmtree(folder)
    last = history.dropna(subset="effective_rank").iloc[-1]
    rows = table.to_pandas()[["method", *COLUMNS]]
    return rows.assign(
        seconds=round(seconds), loss=last["loss"], effective_rank=last["effective_rank"]
    )


def _report(out: Path, rows: pd.DataFrame) -> None:
    rows.to_csv(out, mode="a", header=not out.exists(), index=False)
    for row in rows.to_dict("records"):
        print(
            f"{row['seed']:4d} {row['variant']:32s} {row['method']:14s} "
            f"AUC {row['auc']:.3f} [{row['auc_low']:.3f}, {row['auc_high']:.3f}]  "
            f"minus FC {row['auc_minus_fc_svm']:+.3f} [{row['auc_minus_fc_svm_low']:+.3f}, "
            f"{row['auc_minus_fc_svm_high']:+.3f}]  {row['seconds']} s",
            flush=True,
        )


if __name__ == "__main__":
    typer.run(main)
