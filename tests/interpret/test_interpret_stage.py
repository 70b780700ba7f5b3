import numpy as np
import pandas as pd
import pytest
from interpret_study import N_ROIS, PLANTED
from synthetic_study import write_model, write_study

from brainmass_core.config import stage_hash
from brainmass_core.finetune import LeakError, TaskError
from brainmass_core.finetune import run as finetune
from brainmass_core.interpret import run
from brainmass_core.paths import MAPS
from brainmass_core.tables import (
    config_hash_of,
    n_edges,
    pfc_schema,
    read_table,
    write_table,
)

TABLES = ("attention", "networks", "stability", "maps", "regions")


def explained(study, **settings) -> dict[str, pd.DataFrame]:
    """Run both stages and read every table."""
    interpret = study.config.interpret.model_copy(update=settings)
    config = study.config.model_copy(update={"interpret": interpret})
    finetune(config, "demo_task")
    run(config, "demo_task")
    paths = study.paths
    return {t: read_table(paths.interpret("demo_task", f"{t}.parquet"), t).to_pandas() for t in TABLES}


def top(regions: pd.DataFrame, method: str) -> set[int]:
    rows = regions[(regions["method"] == method) & (regions["rank"] <= 10)]
    return set(rows["roi"] - 1)


def test_five_planted_regions_are_among_the_ten_first(planted):
    found = explained(planted(effect=1.2))
    regions, stability = found["regions"], found["stability"].set_index("method")
    for method in ("gradient", "permutation", "fc_pattern"):
        assert top(regions, method) >= set(PLANTED), method
        assert stability.loc[method, "auc_low"] > 0.5
        planted_rows = regions[(regions["method"] == method) & (regions["roi"] - 1).isin(PLANTED)]
        assert (planted_rows["p_corrected"] < 0.05).mean() >= 0.6
    print(stability.T)
