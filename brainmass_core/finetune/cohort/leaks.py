"""Refuse every leak from training or pre-training to tested participants.

The check uses the tables, independent of the code that made the folds. It finds a participant on
both sides of a fold or in two data sets, a file or a copy of it under two names, and a scan, or
another scan of a tested participant, that was used for pre-training.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from brainmass_core.config import Config
from brainmass_core.finetune.folds.participants import Fold
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pretrain.data.views import scans_seen
from brainmass_core.scans import read_scans
from brainmass_core.scans.copies import LeakError, copies, named, remedy, require_marks
from brainmass_core.timeseries.identity import MARKED, with_marks


def scans_shown(config: Config) -> pd.DataFrame:
    """All scans, of any data set, that were used for pre-training.

    Returns
    -------
    DataFrame
        Columns `MARKED` of the scans tables and those of `with_marks`.
    """
    sources = config.pretrain_datasets()
    seen = set().union(*(scans_seen(config, name) for name in sources))
    scans = read_scans(Paths(config.results), sources).select(MARKED)
    shown = pc.is_in(scans["scan_id"], pa.array(sorted(seen), pa.string()))
    return with_marks(config, scans.filter(shown).to_pandas())


def refuse_shown(scans: pd.DataFrame, shown: pd.DataFrame) -> None:
    """Refuse to test scans that pre-training used in any form.

    Parameters
    ----------
    scans, shown : DataFrame
        Tested scans, and scans of pre-training (`scans_shown`), with columns of `with_marks`.

    Raises
    ------
    LeakError
        Naming the scans and what they have in common.
    """
    require_marks(scans, shown)
    found = copies(scans, shown)
    if len(found):
        raise LeakError(
            f"pre-training used {len(found)} scans that are kept for evaluation, or others of the "
            f"same participants, or copies of them: {named(found)}; {remedy(found)}"
        )


def refuse_leaks(scans: pd.DataFrame, folds: list[Fold], shown: pd.DataFrame) -> None:
    """Refuse folds in which a test participant was used for training or pre-training.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        With columns of `with_marks`, participant and split.
    shown : DataFrame
        Scans that pre-training used, see `scans_shown`.

    Raises
    ------
    LeakError
        Naming the participants and scans.
    """
    require_marks(scans, shown)
    is_test = scans["split"] == "test"
    mixed = sorted(set(scans.loc[is_test, "participant"]) & set(scans.loc[~is_test, "participant"]))
    if mixed:
        raise LeakError(
            f"{len(mixed)} participants have scans both with split test and for training: "
            f"{', '.join(mixed[:10])}; remove the folder scans of the results and run: "
            "snakemake --cores all scans"
        )
    for fold in folds:
        _refuse_crossing(scans, fold)
    refuse_shown(scans[is_test], shown)


def _refuse_crossing(scans: pd.DataFrame, f: Fold) -> None:
    """Refuse a fold with a participant, scan or copy on both sides, or with forbidden test
    scans."""
    where = f"repeat {f.repeat}, fold {f.fold}"
    train, test = scans.iloc[f.train], scans.iloc[f.test]
    both = sorted(set(train["participant"]) & set(test["participant"]))
    wrong = test.loc[test["split"] != "test", "scan_id"].tolist()
    if both or wrong:
        raise LeakError(
            f"{where}: participants on both sides {both[:10]}, tested although not kept for "
            f"evaluation {wrong[:10]}"
        )
    same = copies(test, train)
    if len(same):
        raise LeakError(
            f"{where}: {len(same)} tested scans are also used for training: {named(same)}; "
            f"{remedy(same)}"
        )
