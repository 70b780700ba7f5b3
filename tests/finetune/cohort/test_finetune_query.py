"""Queries that exclude scans from a task."""

import numpy as np
import pandas as pd
import pytest

from brainmass_core.finetune.cohort.query import caught_by

COHORT = pd.DataFrame(
    {
        "age": [10.0, 70.0, np.nan],
        "sex": ["1", "2", None],
        "pheno_FIQ": ["100", "9", None],
        "pheno_AT SCAN": ["x", "y", None],
    }
)


@pytest.mark.parametrize(
    ("query", "caught"),
    [
        ("age > 60 or pheno_FIQ == '100'", [True, True, False]),
        ("pheno_FIQ.astype('float') < 70", [False, True, False]),
        ("`pheno_AT SCAN` == 'y' and not age < 20", [False, True, False]),
        ("sex in ['2', '3']", [False, True, False]),
        ("pheno_FIQ.isna() | age.between(5, 15)", [True, False, True]),
        ("pheno_FIQ.str.startswith('1').fillna(False)", [True, False, False]),
        ("-age < -60", [False, True, False]),
    ],
)
def test_a_query_catches_whom_it_names(query, caught):
    assert caught_by(query, COHORT).tolist() == caught


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("pheno_FIQ == 100", "text with a number"),
        ("sex == 1", "text with a number"),
        ("pheno_FIQ in [100, 9]", "text with a number"),
        ("sex.isin([1, 2])", "text with a number"),
        ("age == '70'", "text with a number"),
        ("pheno_FIQ < '70'", "order of texts"),
        ("'70' > `pheno_AT SCAN`", "order of texts"),
        ("pheno_FIQ.between('1', '70')", "order of texts"),
    ],
)
def test_a_comparison_that_says_something_else_than_it_seems_is_refused(query, said):
    with pytest.raises(ValueError, match=said):
        caught_by(query, COHORT)
