"""The refusal of every leak from training or pre-training to those who are tested.

Asked are the tables, not the code that dealt the folds: a participant on both sides of a fold or
in two data sets, a file or a copy of it under two names, a scan or another scan of a tested
participant among those that pre-training was given.
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
    """All scans, of any data set, that pre-training was given.

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
    """Refuse scans to be tested of which pre-training was given anything.

    Parameters
    ----------
    scans, shown : DataFrame
        Of `with_marks`; see `scans_shown`.

    Raises
    ------
    LeakError
        Naming the scans, and what they are like.
    """
    require_marks(scans, shown)
    found = copies(scans, shown)
    if len(found):
        raise LeakError(
            f"pre-training was given {len(found)} scans that are kept for evaluation, or others of "
            f"the same participants, or copies of them: {named(found)}; "
            f"{remedy(found)}"
        )


def refuse_leaks(scans: pd.DataFrame, folds: list[Fold], shown: pd.DataFrame) -> None:
    """Refuse folds in which a test participant was seen before.

    Parameters
    ----------
    scans : DataFrame (n_scans rows)
        Of `with_marks`, with participant and split.
    shown : DataFrame
        Scans that pre-training was given, see `scans_shown`.

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
    """Refuse a fold with someone or something on both sides, or one tested that must not be."""
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
            f"{where}: {len(same)} tested scans are trained on as well: {named(same)}; "
            f"{remedy(same)}"
        )
