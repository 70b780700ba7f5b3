"""A contract survives the trip through its file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from test_predict_stage import a_contract

from brainmass_core.predict.contract import read_contract, write_contract

names = st.text(min_size=1, max_size=8)
counts = st.integers(1, 10**6)
scores = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


@given(
    classes=st.lists(names, max_size=4, unique=True),
    done=st.lists(
        st.fixed_dictionaries(
            {k: st.one_of(st.none(), names) for k in ("denoise", "order", "filter", "censor")}
        ),
        min_size=1,
        max_size=3,
    ),
    t_r=st.one_of(st.none(), st.tuples(st.floats(0.1, 1), st.floats(1, 5))),
    n_participants=counts,
    table=st.lists(
        st.fixed_dictionaries({"index": counts, "name": names, "x": scores}), min_size=2, max_size=4
    ),
    measured=st.dictionaries(names, st.dictionaries(names, scores, max_size=3), max_size=3),
    low_hz=st.floats(0.001, 0.05),
)
def test_reading_is_the_inverse_of_writing(
    classes, done, t_r, n_participants, table, measured, low_hz
):
    atlas = {"name": "a", "configured": "b", "space": "c", "sha256": "d", "approximate": False}
    contract = a_contract(
        classes=classes,
        done=done,
        t_r=t_r,
        n_participants=n_participants,
        atlas=atlas | {"table": table},
        scores=measured,
        timeseries={"low_hz": low_hz},
    )
    with tempfile.TemporaryDirectory() as folder:
        write_contract(Path(folder), contract)
        assert read_contract(Path(folder)) == contract
