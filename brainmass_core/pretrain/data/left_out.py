"""The scans that one of several encoders (``pretrain.folds``) is not trained on, and those it is.

Each encoder's folder has the table ``trained_on``: every scan that it was trained on, with the
marks by which copies are found. Tasks check their tested participants against it.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from brainmass_core.checksums import sha256_of
from brainmass_core.config import Config
from brainmass_core.models.pretrained import ModelError, read_settings
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.row_groups import Group
from brainmass_core.pretrain.data.usable_series import ShardError
from brainmass_core.scans import read_scans
from brainmass_core.scans.pretraining_folds import left_out
from brainmass_core.scans.units import joins, read_units
from brainmass_core.tables import TRAINED_ON, read_table, write_table
from brainmass_core.timeseries.identity import MARKED, with_marks

FILE = "trained_on.parquet"
SEEN = "trained_on_sha256"  # key in the settings of the model
COLUMNS = ["scan_id", "participant_id", "split"]


def fold_settings(config: Config) -> tuple[int, int, list[str]]:
    """Arguments of `pretraining_folds.folds_of` after the scans."""
    assert config.pretrain.folds
    return config.pretrain.folds, config.seed, config.allow_same_ids


def left_out_of(config: Config, datasets: list[str]) -> dict[str, dict[str, str]]:
    """scan_id to participant of the scans that the configured encoder excludes, by data set.

    Raises
    ------
    TableError
        If a scans table cannot be read.
    """
    found: dict[str, dict[str, str]] = {name: {} for name in datasets}
    if config.pretrain.fold is None:
        return found
    paths = Paths(config.results)
    tables = (read_table(paths.scans(n), "scans", COLUMNS).to_pandas().assign(dataset=n)
              for n in datasets)  # fmt: skip
    scans = pd.concat(tables, ignore_index=True)
    scans = scans[left_out(scans, config.pretrain.fold, *fold_settings(config))]
    for name, rows in scans.groupby("dataset"):
        found[str(name)] = dict(zip(rows["scan_id"], rows["participant_id"], strict=True))
    return found


def scans_left_out(config: Config) -> set[str]:
    """scan_id of all scans that the configured encoder excludes."""
    by_dataset = left_out_of(config, config.pretrain_datasets())
    return {scan_id for scans in by_dataset.values() for scan_id in scans}


def refuse_useless_fold(config: Config, sources: list) -> None:
    """Refuse to train an encoder that excludes nobody: it would be the same as another one.

    Raises
    ------
    ShardError
        If the fold of the configured encoder has no participant.
    """
    if config.pretrain.fold and not any(s.n_left_out for s in sources):
        raise ShardError(
            f"pretrain.folds: found no participant in fold {config.pretrain.fold} of "
            f"{config.pretrain.folds}, expected some of the internal data sets; lower "
            "pretrain.folds, or add participants"
        )


def write_trained_on(config: Config, groups: list[Group]) -> str:
    """Write the table ``trained_on`` of the encoder of a fold: all scans in the groups.

    Of joined runs all, those as well that were lost on the way.

    Returns
    -------
    str
        SHA-256 of the file, for the settings of the model.
    """
    used = {scan_id for group in groups for scan_id in group.scan_ids}
    names = config.pretrain_datasets()
    if config.pretrain.source == "pfc" and joins(config):
        for name in names:
            runs = read_units(config, name).runs
            used |= {run for unit in used & set(runs) for run in runs[unit]}
    scans = read_scans(Paths(config.results), names).select(MARKED).to_pandas()
    # persons are told apart within the complete table, so marks come before the choice
    marks = with_marks(config, scans)
    marks = marks[marks["scan_id"].isin(used)].sort_values("scan_id", ignore_index=True)
    rows = pa.Table.from_pandas(marks[TRAINED_ON.names], TRAINED_ON, preserve_index=False)
    path = Paths(config.results).pretrain(config.pretrain.model, config.pretrain.fold) / FILE
    write_table(path, rows, "trained_on", stage_hash(config, "pretrain"))
    return sha256_of(path)


def read_trained_on(config: Config) -> pd.DataFrame:
    """Scans that the encoder of a fold was trained on, from its own folder.

    Returns
    -------
    DataFrame
        Columns of `tables.TRAINED_ON`, those of `scans.copies.MARKS` among them.

    Raises
    ------
    ModelError
        If there is no model, or the table is not that of the model: it is not known whom the
        encoder has seen. So a model that was put there from elsewhere is refused.
    TableError
        If the table is missing or damaged.
    """
    path = Paths(config.results).pretrain(config.pretrain.model, config.pretrain.fold) / FILE
    table = read_table(path, "trained_on")
    about = read_settings(path.parent)
    found = about.get(SEEN), about.get("fold"), about.get("config_hash")
    expected = sha256_of(path), config.pretrain.fold, stage_hash(config, "pretrain")
    if found != expected:
        raise ModelError(
            f"{path}: not the list of the scans that this model was trained on (checksum, fold and "
            f"configuration: found {found}, expected {expected}); remove the folder and run: "
            "snakemake --cores all pretrain"
        )
    return table.to_pandas()
