"""The refusal of every leak from training or pre-training to those who are tested.

Asked are the tables, not the code that dealt the folds: a participant on both sides of a fold, a
file under two names, a scan or another scan of a tested participant among those that pre-training
was given.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from brainmass_core.config import Config
from brainmass_core.finetune.folds import Fold, LeakError
from brainmass_core.paths import Paths
from brainmass_core.pretrain.data import scans_seen
from brainmass_core.scans import read_scans

FILE = ["bold_path", "bold_key"]
SHOWN = ["scan_id", "dataset", "participant_id", *FILE]


def scans_shown(config: Config) -> pd.DataFrame:
    """All scans, of any data set, that pre-training was given.

    Returns
    -------
    DataFrame
        Columns `SHOWN` of the scans tables.
    """
    sources = [n for n, d in config.datasets.items() if d.role != "external"]
    seen = set().union(*(scans_seen(config, name) for name in sources))
    scans = read_scans(Paths(config.results), sources).select(SHOWN)
    shown = pc.is_in(scans["scan_id"], pa.array(sorted(seen), pa.string()))
    return scans.filter(shown).to_pandas()


def files_of(scans: pd.DataFrame) -> pd.Series:
    """What a scan is read from, as one text; missing where the path is."""
    path, key = (scans[column].astype(object).fillna("") for column in FILE)
    return (path + "\x1f" + key).where(path != "")


def known_to_pretraining(scans: pd.DataFrame, shown: pd.DataFrame) -> pd.Series:
    """Which scans are of a participant, or of a file, that pre-training was given.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        scan_id, participant (``dataset/participant_id``), bold_path and bold_key.
    shown : DataFrame
        See `scans_shown`.
    """
    people = shown["dataset"] + "/" + shown["participant_id"]
    by_file = files_of(scans).isin(files_of(shown).dropna())
    return scans["scan_id"].isin(shown["scan_id"]) | scans["participant"].isin(people) | by_file


def refuse_leaks(scans: pd.DataFrame, folds: list[Fold], shown: pd.DataFrame) -> None:
    """Refuse folds in which a test participant was seen before.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        scan_id, participant, split, bold_path and bold_key.
    shown : DataFrame
        Scans that pre-training was given, see `scans_shown`.

    Raises
    ------
    LeakError
        Naming the participants and scans.
    """
    is_test = scans["split"] == "test"
    mixed = sorted(set(scans.loc[is_test, "participant"]) & set(scans.loc[~is_test, "participant"]))
    if mixed:
        raise LeakError(
            f"{len(mixed)} participants have scans both with split test and for training: "
            f"{', '.join(mixed[:10])}; remove results/scans and run: snakemake scans"
        )
    for fold in folds:
        _refuse_crossing(scans, fold)
    leaked = sorted(scans.loc[is_test & known_to_pretraining(scans, shown), "scan_id"])
    if leaked:
        raise LeakError(
            f"{len(leaked)} evaluation scans, or other scans of the same participants, were "
            f"shown to pre-training: {', '.join(leaked[:10])}; remove results/pfc and "
            "results/pretrain and run again; if the same folder has two names under datasets, "
            "remove one"
        )


def _refuse_crossing(scans: pd.DataFrame, f: Fold) -> None:
    """Refuse a fold with a participant or a file on both sides, or one tested that must not be."""
    where = f"repeat {f.repeat}, fold {f.fold}"
    train, test = scans.iloc[f.train], scans.iloc[f.test]
    both = sorted(set(train["participant"]) & set(test["participant"]))
    wrong = test.loc[test["split"] != "test", "scan_id"].tolist()
    if both or wrong:
        raise LeakError(
            f"{where}: participants on both sides {both[:10]}, tested although not kept for "
            f"evaluation {wrong[:10]}"
        )
    same = test.loc[files_of(test).isin(files_of(train).dropna()), "scan_id"].tolist()
    if same:
        raise LeakError(
            f"{where}: {len(same)} tested scans are files that are trained on as well: "
            f"{', '.join(same[:10])}; the same folder has two names under datasets"
        )
