"""Every baseline on ABIDE: five folds and leave one site out, with what each costs.

All 457 usable participants are tested, since nothing is pre-trained here. Each method runs alone
in a process of its own, one after the other, on the same folds as all others. Printed per task and
method: AUC with its bootstrap interval over participants, the difference from `fc_svm` with the
interval over the same bootstrap draws, and of making the features and fitting all folds the wall
and CPU seconds; peak RSS is that of the process, imports and tables included. The CSV that `--out`
names holds the interval over folds (Nadeau and Bengio) and the permutation p (nothing fitted again)
as well.

Networks need minutes per fold: they are left out unless `--neural-epochs` says how many epochs they
get. Run, with data that are not part of this repository:
``python benchmarks/abide_evaluation.py DATA --out evaluation.csv``.
"""

from __future__ import annotations

import logging
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from abide import prepare, settings, task, write

from brainmass_core.config import Config, load_config
from brainmass_core.encoders.registry import METHODS
from brainmass_core.finetune.evaluation import Evaluation, task_seed
from brainmass_core.finetune.methods.fitting import predict_folds
from brainmass_core.finetune.statistics.scoring import score_methods

FC = "fc_svm"
# what sees series as a BrainLM does has no place beside BrainMass: benchmarks/abide_brainlm.py
BASELINES = [m for m in METHODS.values() if m.baseline and not m.series]
NEURAL = [m.name for m in BASELINES if m.estimator.is_network]
PLAIN = [FC, *(m.name for m in BASELINES if m.name not in (*NEURAL, FC))]
COLUMNS = ["n_participants", "auc", "auc_low", "auc_high", "corrected_low", "corrected_high"]
COLUMNS += ["auc_minus_fc_svm", "auc_minus_fc_svm_low", "auc_minus_fc_svm_high", "p_permutation"]


def main(
    data: Annotated[Path, typer.Argument(help="Folder of the ABIDE series and atlas.")],
    out: Annotated[Path, typer.Option(help="CSV that rows are appended to.")],
    repeats: Annotated[int, typer.Option(help="Repeats of the five folds.")] = 2,
    neural_epochs: Annotated[int, typer.Option(help="Epochs of the networks; 0: none.")] = 0,
    only: Annotated[str, typer.Option(help="Methods besides fc_svm, by commas.")] = "",
) -> None:
    """Run the methods one after the other; a row is written as soon as it is known."""
    logging.disable(logging.WARNING)
    chosen = [*PLAIN, *(NEURAL if neural_epochs else [])]
    if only:
        chosen = [m for m in [*PLAIN, *NEURAL] if m == FC or m in only.split(",")]
    with tempfile.TemporaryDirectory(prefix="brainmass-abide-") as name:
        config = write(Path(name) / "study", _settings(data, repeats, max(neural_epochs, 1)))
        prepare(config)
        reference: dict[str, pd.DataFrame] = {}
        for method in chosen:
            for of, (predictions, cost) in _alone(config, method).items():
                reference.setdefault(of, predictions)
                _report(out, config, of, [reference[of], predictions], cost)


def _settings(data: Path, repeats: int, epochs: int) -> dict[str, Any]:
    chosen = settings(data)
    chosen["datasets"]["abide"]["role"] = "external"
    # a configuration needs something to pre-train on; this is never read
    chosen["datasets"]["nobody"] = {"kind": "timeseries", "role": "pretrain", "path": str(data)}
    tasks = {
        "abide1": task(n_splits=5, n_repeats=repeats),
        "abide1_loso": task(kind="leave_one_site_out"),
    }
    return chosen | {"neural": {"max_epochs": epochs}, "tasks": tasks}


def _alone(config: Config, method: str) -> dict[str, tuple[pd.DataFrame, dict[str, float]]]:
    """Predictions and cost of both tasks, from a process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        file = config.results.parent / "config.yaml"
        return pool.submit(_evaluate, file, method).result()


def _evaluate(file: Path, method: str) -> dict[str, tuple[pd.DataFrame, dict[str, float]]]:
    logging.disable(logging.WARNING)
    config, found = load_config(file), {}
    for of in config.tasks:
        e = Evaluation.load(config, of)
        data, folds, design = e.data, e.folds, e.design
        start = time.perf_counter(), time.process_time()
        rows = predict_folds(
            method, e.features[METHODS[method].given], design, folds, e.seed % 2**31
        )
        cost = {
            "wall_s": time.perf_counter() - start[0],
            "cpu_s": time.process_time() - start[1],
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        tested = data.scans.iloc[rows["row"]].reset_index(drop=True)
        columns = tested[["scan_id", "dataset", "participant_id", "site"]]
        table = pd.concat([rows.drop(columns="row"), columns], axis=1)
        table = table.assign(task=of, method=method, y_true=tested["y"].astype(float))
        found[of] = (table, cost | {"n_folds": float(len(folds))})
    return found


def _report(
    out: Path, config: Config, of: str, tables: list[pd.DataFrame], cost: dict[str, float]
) -> None:
    method = tables[1]["method"].iloc[0]
    scored = score_methods(config, of, tables, task_seed(config, of)).metrics
    row = next(r for r in scored if r["method"] == method)
    full = {"task": of, "method": method} | {c: row.get(c) for c in COLUMNS} | cost
    pd.DataFrame([full]).to_csv(out, mode="a", header=not out.exists(), index=False)
    gain = ""
    if method != FC:
        low, high = row["auc_minus_fc_svm_low"], row["auc_minus_fc_svm_high"]
        gain = f"minus FC {row['auc_minus_fc_svm']:+.3f} [{low:+.3f}, {high:+.3f}]"
    print(
        f"{of:12s} {method:20s} AUC {row['auc']:.3f} [{row['auc_low']:.3f}, {row['auc_high']:.3f}]"
        f"  {gain:36s}  wall {cost['wall_s']:.0f} s, CPU {cost['cpu_s']:.0f} s, "
        f"{cost['peak_rss_mb']:.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(main)
