"""Tables for people: cells are never formulas, and numbers stay numbers."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmass_core.readers import read_delimited
from brainmass_core.tables.text import neutral, tsv_text, write_text_table

TABLE = pd.DataFrame(
    {"id": ["=1+1", "+cmd|' /C calc'!A0", "-x", "@SUM(A1)", "\tx", "ok", "-1.5", "a-b"]}
).assign(score=[-1.5, 2.0, float("nan"), 0.0, 1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("tabs", [True, False])
def test_cells_that_begin_as_formulas_are_neutralised(tmp_path, tabs):
    path = tmp_path / ("t.tsv" if tabs else "t.csv")
    write_text_table(path, TABLE.rename(columns={"score": "=score"}), tabs=tabs)
    found = read_delimited(path)
    assert found["id"].tolist()[:4] == ["'=1+1", "'+cmd|' /C calc'!A0", "'-x", "'@SUM(A1)"]
    assert found["id"].tolist()[5:] == ["ok", "-1.5", "a-b"]
    assert list(found) == ["id", "'=score"]
    assert found["'=score"].tolist()[:3] == ["-1.5", "2.0", "n/a"]


@pytest.mark.parametrize("value", [" =1", "\n=1", "\uff1d1", "\u00a0@x", "-", "-0x10"])
def test_nothing_hides_a_formula(value):
    assert neutral(value) == f"'{value}"


@pytest.mark.parametrize("value", ["-1.5", "+3", "-2e5", -1.5, None, "a=b", ""])
def test_numbers_and_plain_text_are_left_alone(value):
    assert neutral(value) == value


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8))
def test_a_tsv_is_read_back_as_it_is(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("t") / "t.tsv"
    path.write_text(tsv_text(pd.DataFrame({"index": ["1"], "name": [text]})), encoding="utf-8")
    assert read_delimited(path)["name"].tolist() == [text]


def test_line_breaks_of_reasons_become_spaces_in_a_tsv(tmp_path):
    write_text_table(tmp_path / "t.tsv", pd.DataFrame({"a": ["x\ny\tz"]}), tabs=True)
    assert read_delimited(tmp_path / "t.tsv")["a"].tolist() == ["x y z"]
