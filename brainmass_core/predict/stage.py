"""The command `predict`: read model and input, check and score scans, write a table."""

from __future__ import annotations

import logging
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from brainmass_core.config import Config, ConfigError, load_config
from brainmass_core.encoders.registry import encoders
from brainmass_core.finetune.confounds import confound_table
from brainmass_core.predict.compatibility import (
    PredictError,
    refuse_settings,
    refuse_unknown_confounds,
    sexes_as_trained,
)
from brainmass_core.predict.contract import Contract
from brainmass_core.predict.inputs import Found, kind_of, read_fc_table, read_matrices
from brainmass_core.predict.model import Model
from brainmass_core.predict.phenotype import add_phenotype, as_trained
from brainmass_core.predict.pipeline_run import Options, by_stages
from brainmass_core.predict.results import finished_datasets, read_results
from brainmass_core.tables import PREDICTED, atomic_path, embedding_schema, write_table
from brainmass_core.tables.text import write_text_table

__all__ = ["Options", "PredictError", "predict"]

log = logging.getLogger(__name__)
TEXT = (".tsv", ".csv")


def predict(
    folder: Path,
    given: Path,
    out: Path,
    embeddings: Path | None = None,
    config: Path | None = None,
    options: Options | None = None,
    work: Path | None = None,
) -> pd.DataFrame:
    """Score the scans of an input with a stored model and write the table.

    Parameters
    ----------
    folder : Path
        Folder of the model.
    given : Path
        Results folder, BIDS or derivatives folder, series, FC tables or matrices.
    out : Path
        ``.parquet``, ``.tsv`` or ``.csv``.
    embeddings : Path, optional
        File for the encoder's embeddings, ``.parquet``.
    config : Path, optional
        Configuration of a results folder. Default: the ``config.yaml`` in it.
    work : Path, optional
        Folder for series and FC of raw input; temporary by default.

    Returns
    -------
    DataFrame
        The written table: scan_id, participant_id, status, reason, y_pred, y_score, and
        ``probability_<class>`` if the method gives it.

    Raises
    ------
    ContractError
        If the model cannot be used.
    PredictError
        If the input is not compatible with the model, or no scan could be scored. In the latter
        case the table is still written.
    """
    options = options or Options()
    _check_names(out, embeddings)
    model = Model.load(folder)
    if embeddings is not None and not model.encodes:
        raise PredictError(
            f"--embeddings: the method {model.contract.method} has no encoder; remove the option, "
            f"or deploy one of {', or of '.join(f'{e.name}_*' for e in encoders())}"
        )
    with ExitStack() as stack:
        place = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="brainmass-")))
        found = find(given, model, config, options, place)
    if (table := _phenotype(given, model.contract, options)) is not None:
        add_phenotype(
            found,
            table,
            [*model.contract.missing_values, *options.missing_values],
            options.valid_values,
        )
    rows = pd.DataFrame(found.rows)
    if not len(rows):
        raise PredictError(f"{given}: found no scan; check the folder")
    scored = _score(model, given, rows, found)
    _write(out, scored, model.contract)
    if embeddings is not None:
        _write_embeddings(embeddings, model, found)
    _say(out, scored)
    return scored


def find(given: Path, model: Model, config: Path | None, options: Options, work: Path) -> Found:
    """Read the scans of an input with their model input.

    Raises
    ------
    PredictError
        If the input cannot be read or is not compatible with the model.
    """
    kind, contract = kind_of(given), model.contract
    if contract.series and kind in ("table", "matrices"):
        raise PredictError(
            f"{given}: found FC, but the model's {contract.method} needs the time series, which "
            "FC does not contain; give parcel series, a BIDS or derivatives folder, or a results "
            "folder with its time-series tables"
        )
    if kind == "table":
        return read_fc_table(given, contract, options.as_trained)
    if kind == "matrices":
        return read_matrices(given, contract, options.as_trained)
    if kind == "results":
        settings = _settings(given, config)
        datasets = _chosen(given, finished_datasets(settings), options)
        refuse_settings(contract, str(given), settings, datasets)
        return read_results(settings, model, datasets)
    return by_stages(kind, given.absolute(), model, options, work.absolute())


def _settings(given: Path, config: Path | None) -> Config:
    path = config or given / "config.yaml"
    if not path.exists():
        raise PredictError(
            f"{path}: no such file, so it is not known how {given} was made; give the "
            "configuration by --config"
        )
    try:
        settings = load_config(path, check_paths=False)
    except ConfigError as error:
        raise PredictError(f"{error}\nexpected the configuration that made {given}") from None
    return settings.model_copy(update={"results": given})


def _chosen(given: Path, finished: list[str], options: Options) -> list[str]:
    missing = sorted(set(options.datasets) - set(finished))
    if missing or not finished:
        raise PredictError(
            f"{given}: found results of the data sets {finished}, expected {missing or 'some'}; "
            "correct --dataset, or run: snakemake --cores all connectivity"
        )
    return [d for d in finished if d in options.datasets] if options.datasets else finished


def _score(model: Model, given: Path, rows: pd.DataFrame, found: Found) -> pd.DataFrame:
    """The output table, ordered by scan."""
    rows = rows.sort_values("scan_id", ignore_index=True)
    usable = rows["status"] == "ok"
    confounds = confound_table(rows[usable].astype({"age": float, "mean_fd": float}))
    confounds["site"] = as_trained(confounds["site"], model.contract.sites)
    refuse_unknown_confounds(model.contract, str(given), confounds)
    confounds["sex"] = sexes_as_trained(model.contract, str(given), confounds["sex"])
    made = rows[["scan_id", "participant_id", "status", "reason"]].copy()
    made["y_pred"], made["y_score"] = pd.Series(None, rows.index, dtype=object), np.nan
    if not usable.any():
        return made
    seen = np.stack([found.seen[s] for s in rows.loc[usable, "scan_id"]])
    result = model.score(seen, confounds)
    made.loc[usable, "y_score"] = result["y_score"].to_numpy()
    classes = model.contract.classes
    if classes:
        made.loc[usable, "y_pred"] = [classes[int(k)] for k in result["y_pred"]]
        _add_probabilities(made, usable, result, classes)
    return made


def _add_probabilities(
    made: pd.DataFrame, usable: pd.Series, result: pd.DataFrame, classes: list[str]
) -> None:
    if result["probability"].isna().any():
        return
    probability = np.stack(result["probability"].to_list())
    for k, name in enumerate(classes):
        made.loc[usable, f"probability_{name}"] = probability[:, k]


def _check_names(out: Path, embeddings: Path | None) -> None:
    if out.suffix not in (".parquet", *TEXT):
        raise PredictError(f"--out {out}: expected a name that ends in .parquet, .tsv or .csv")
    if embeddings is not None and embeddings.suffix != ".parquet":
        raise PredictError(f"--embeddings {embeddings}: expected a name that ends in .parquet")


def _write(out: Path, scored: pd.DataFrame, contract: Contract) -> None:
    if out.suffix in TEXT:
        with atomic_path(out) as path:
            write_text_table(path, scored, tabs=out.suffix == ".tsv")
        return
    extra = [pa.field(c, pa.float64()) for c in scored.columns if c.startswith("probability_")]
    schema = pa.schema([*PREDICTED, *extra])
    table = pa.Table.from_pandas(scored, schema, preserve_index=False)
    write_table(out, table, "predicted", contract.config_hash)


def _write_embeddings(path: Path, model: Model, found: Found) -> None:
    ids = sorted(found.seen)
    if not ids:
        log.warning("%s: no scan was scored, so there are no embeddings", path)
        return
    embedded = model.embed(np.stack([found.seen[s] for s in ids]))
    rows: list[dict[str, Any]] = [
        {"scan_id": s, "embedding": e.tolist()} for s, e in zip(ids, embedded, strict=True)
    ]
    table = pa.Table.from_pylist(rows, embedding_schema(embedded.shape[1]))
    write_table(path, table, "embeddings", model.contract.config_hash)


def _phenotype(given: Path, contract: Contract, options: Options) -> Path | None:
    """The table of confounds: as given, or participants.tsv of a BIDS folder if it is needed."""
    default = given / "participants.tsv"
    use_default = contract.confound_columns and default.exists()
    return options.phenotype or (default if use_default else None)


def _say(out: Path, scored: pd.DataFrame) -> None:
    for row in scored[scored["status"] != "ok"].head(50).itertuples():
        log.warning("%s %s: %s", row.scan_id, row.status, row.reason)
    n = int((scored["status"] == "ok").sum())
    log.info("%d of %d scans scored: %s", n, len(scored), out)
    if n == 0:
        first = scored.iloc[0]
        raise PredictError(
            f"{out}: none of {len(scored)} scans could be scored; the first, {first['scan_id']}, "
            f"was {first['status']}: {first['reason']}"
        )
