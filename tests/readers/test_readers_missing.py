"""Missing is what says so; a number is one number; a code nobody declared is refused."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from brainmass_core.readers import FileError
from brainmass_core.readers.groups import refuse_codes_among_names
from brainmass_core.readers.missing import (
    AGE,
    MOTION,
    checked_numbers,
    mask_missing,
    numbers,
    refuse_codes,
    undeclared_codes,
)

IQ = [*map(float, range(80, 130, 5))]


def column(*values):
    return pd.Series(values, dtype=object, name="x")


def read(*values):
    return numbers(column(*values), "p.tsv: column 'x'")[0].tolist()


@pytest.mark.parametrize(
    "text", ["", "n/a", "N/A", "NA", "NaN", "nan", "null", "NAN", "NULL", "#N/A", "<NA>"]
)
def test_empty_cells_and_n_a_are_missing(text):
    table = pd.DataFrame({"x": column(text, "1", "None")})
    mask_missing(table)
    assert table["x"].tolist() == [None, "1", "None"]


@pytest.mark.parametrize("written", ["-9999", "-9999.0", " -9999", "-9.999e3", "\u22129999"])
def test_declared_codes_are_missing_however_they_are_written(written):
    table = pd.DataFrame({"id": ["-9999", "2"], "x": column(written, "-99990")})
    mask_missing(table, [-9999], but=["id"])
    assert table["x"].tolist() == [None, "-99990"]
    assert table["id"].tolist() == ["-9999", "2"]


def test_a_word_can_be_declared():
    table = pd.DataFrame({"x": column("unknown", "1")})
    mask_missing(table, ["unknown"])
    assert table["x"].tolist() == [None, "1"]


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (("12,5", "13,25"), [12.5, 13.25]),
        (("12,5", "1,234"), [12.5, 1.234]),  # the first says what the comma is
        (("0,123", "7"), [0.123, 7.0]),
        ((",5", "-1,5e2"), [0.5, -150.0]),
        (("1.5e3", "2E-2", "+3", ".5", "4."), [1500.0, 0.02, 3.0, 0.5, 4.0]),
        (("\u22125", "5"), [-5.0, 5.0]),
    ],
)
def test_numbers_are_read_as_they_are_meant(texts, values):
    assert read(*texts) == values


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("1,234", "2,345"), "decimals or thousands"),
        (("1,234", "12"), "decimals or thousands"),
        (("12,5", "13.5"), "comma and a point"),
        (("1,234.5", "1"), "separators of thousands"),
        (("1.234,5", "1"), "separators of thousands"),
        (("1,234,567", "1"), "separators of thousands"),
        (("1 234", "1"), "separators of thousands"),
        (("1'234", "1"), "separators of thousands"),
    ],
)
def test_ambiguous_separators_are_refused_with_the_values(texts, message):
    with pytest.raises(FileError, match=f"p.tsv: column 'x': found ['\"].*{message}"):
        read(*texts)


@pytest.mark.parametrize("text", ["1_000", "0x10", "12 years", "Oct-25", "89+", "#21", "1d5", "٣"])
def test_what_only_looks_like_a_number_is_none(text):
    values, others = numbers(column(text, "1"), "x")
    assert np.isnan(values[0])
    assert others.tolist() == [text]


@pytest.mark.parametrize("text", ["inf", "-Inf", "Infinity", "1e999"])
def test_infinite_values_are_missing_and_said(text, caplog):
    assert np.isnan(read(text, "1")[0])
    assert "1 infinite values of" in caplog.text or "1 infinite values count" in caplog.text


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([*IQ, -9999.0, -9999.0, -9999.0], {-9999.0: 3}),
        ([*IQ, -9999.0], {-9999.0: 1}),  # one is enough where it lies so far away
        ([*IQ, 999.0, 999.0], {999.0: 2}),
        ([*IQ, -999.0, -999.0, 777.0, 888.0], {-999.0: 2, 777.0: 1, 888.0: 1}),
        ([0.0, 3, 5, 21, 7, -3, -3, -1, -1], {-3.0: 2, -1.0: 2}),
        ([0.0, 3, 5, 21, 7, 99, 99], {99.0: 2}),
        ([8.0, 9, 12, 17, 99, 99], {99.0: 2}),
        ([55.0, 60, 77, 77, 88, 99, 99], {}),  # ages of the old
        ([0.0, 0, 0, 50, 55, 60], {}),  # a scale that piles up at 0
        ([-3.0, -3, -2.5, -1, 0, 1.5, 2], {}),  # z-scores
        ([-3.0, -3, -2, -2, -1, -1, -4, -4, 0, 1, 2], {}),  # changes
        ([17.0, 17, 17, 50, 60, 55], {}),  # controls at the floor of a scale
        ([*IQ, 999999.0, 999999.0], {999999.0: 2}),
        ([1.0, 1.1, 1.2, 1.3, 1000.0, 1000.0], {1000.0: 2}),
        ([1.0, 1.1, 1.2, 1.3, 1000.0], {}),  # an outlier
        ([*IQ, -99.9, -99.9], {}),  # not far enough from so wide a scale to be sure
        ([1.0, 1.1, 1.2, 1.3, -99.9, -99.9], {-99.9: 2}),
        ([-9999.0, -9999, 100, 110], {-9999.0: 2}),  # of few values too
        ([-9999.0, -9999], {-9999.0: 2}),
        ([-9999.0, -9998, -5], {}),
        ([0.0, 1, 1, 99, 99], {}),
        (IQ, {}),
    ],
)
def test_codes_are_found_by_lying_far_from_all_others(values, codes):
    assert undeclared_codes(pd.Series(values)) == codes


def test_an_undeclared_code_is_refused_by_name_and_count_with_the_remedy():
    values = pd.Series([*IQ, -9999.0, -9999.0, 999.0])
    with pytest.raises(FileError) as error:
        refuse_codes(values, "p.tsv: column 'FIQ'")
    for part in ("p.tsv: column 'FIQ'", "-9999 (2 times)", "999 (once)"):
        assert part in str(error.value)
    assert "missing_values: [-9999, 999]" in str(error.value)
    refuse_codes(values, "x", valid=[-9999, 999])


def test_a_negative_code_is_no_site_and_99_may_be():
    refuse_codes_among_names(column("1", "2", "99", None), "x")
    with pytest.raises(FileError, match=r"column 'site': found -9999 \(2 times\)"):
        refuse_codes_among_names(column("1", "-9999", "-9999.0"), "p.tsv: column 'site'")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["1", "2", "99", "99"], "99 (2 times)"),
        (["1", "2", "999", "999.0", "-9999"], "-9999 (once), 999 (2 times)"),
        (["NYU", "UM", "999", "999"], "999 (2 times)"),
        ([*map(str, range(1, 21)), "99", "99"], "99 (2 times)"),
    ],
)
def test_a_repeated_number_out_of_range_is_no_group(names, found):
    with pytest.raises(FileError, match=re.escape(f"column 'group': found {found}, which is a")):
        refuse_codes_among_names(column(*names), "p.tsv: column 'group'")


@pytest.mark.parametrize(
    ("names", "valid"),
    [
        (["98", "99", "98", "99"], ()),
        (["NYU", "UM", "99", "99"], ()),
        ([*map(str, range(1, 61)), "99", "99"], ()),
        (["77", "88", "99", "99"], ()),
        (["1", "2", "99", "99"], [99]),
    ],
)
def test_numbers_may_be_names_of_groups(names, valid):
    refuse_codes_among_names(column(*names), "x", valid)


@pytest.mark.parametrize(
    ("names", "of_sex"),
    [
        (["NYU", "nyu", "UM"], False),
        (["TRUE", "True", "0"], False),
        (["1", "1.0", "2"], False),
        (["M", "m", "F"], True),
        (["M", "male", "F"], True),
        (["f", "Female", "M"], True),
    ],
)
def test_one_group_under_two_names_is_refused(names, of_sex):
    said = f"column 'g': found .*'{names[0]}' .*which are one group"
    with pytest.raises(FileError, match=said):
        refuse_codes_among_names(column(*names), "p.tsv: column 'g'", positive=of_sex)
    refuse_codes_among_names(column(names[0], names[2]), "x", positive=of_sex)


@pytest.mark.parametrize("text", ["#DIV/0!", "#VALUE!", "#NAME?", "#N/A N/A"])
def test_an_error_of_a_spreadsheet_is_no_group(text):
    with pytest.raises(FileError, match="is a code of missing values"):
        refuse_codes_among_names(column("A", text), "x")
    refuse_codes_among_names(column("#1", "#A"), "x")


def test_repeated_zeros_are_no_ages_and_no_motion_of_others():
    ages = column("34", "0", "0", "25", "41")
    with pytest.raises(
        FileError, match=r"found 0 \(2 times\), all others from 25 on.*valid_values"
    ):
        checked_numbers(ages, "x", AGE)
    assert checked_numbers(ages, "x", AGE, valid=[0]).tolist() == [34, 0, 0, 25, 41]
    assert checked_numbers(column("0", "0", "2", "9"), "x", AGE).tolist() == [0, 0, 2, 9]  # babies
    with pytest.raises(FileError, match=r"found 0 \(3 times\)"):
        checked_numbers(column("0.1", "0", "0.0", "0", "0.2"), "x", MOTION)
    assert checked_numbers(column("0", "0"), "x", MOTION).tolist() == [0, 0]


@pytest.mark.parametrize("code", ["99.9", "999.99", "888.8"])
def test_a_code_with_decimals_is_told_where_it_is_repeated(code):
    values = [25, 34, 41, 60, float(code)]
    assert undeclared_codes(pd.Series([*values, float(code)])) == {float(code): 2}
    assert undeclared_codes(pd.Series(values)) == {}


@pytest.mark.parametrize("text", [".", "-", "?", "--", "n.a.", "na", "Missing"])
def test_what_stands_for_missing_is_no_site(text):
    said = rf"column 'site': found {re.escape(text)} \(2 times\).*missing_values: \['"
    with pytest.raises(FileError, match=said):
        refuse_codes_among_names(column("A", text, text), "p.tsv: column 'site'")


def test_99_is_no_sex():
    refuse_codes_among_names(column("1", "2", "9"), "x", positive=True)
    with pytest.raises(FileError, match=r"found 99 \(once\).*valid_values: \[99\]"):
        refuse_codes_among_names(column("1", "2", "99"), "x", positive=True)


def test_one_impossible_age_is_missing_and_said_and_several_are_refused(caplog):
    found = checked_numbers(column("89+", "-5", "9.5", None, "12", "13"), "x", AGE)
    assert found.tolist()[2:] == pytest.approx([9.5, np.nan, 12, 13], nan_ok=True)
    assert found.isna().sum() == 3
    assert "-5, 89+" in caplog.text
    with pytest.raises(FileError, match=r"252 \(once\).*age in years.*months"):
        checked_numbers(column("252", "264", "276"), "x", AGE)
    with pytest.raises(FileError, match="2 of 3 values are not numbers"):
        checked_numbers(column("2001-01-01", "2002-01-01", "3"), "x", AGE)
