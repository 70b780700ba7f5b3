"""Confounds are found under the names of other pipelines; a limit on motion is never skipped."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from brainmass_core.config.preprocess import Preprocess
from brainmass_core.pipeline.manifest import ScanExcluded, ScanFailed
from brainmass_core.readers.confounds import power_displacement, read_confounds_table
from brainmass_core.timeseries.inputs import read_confounds
from brainmass_core.timeseries.motion_limits import displacement, n_non_steady, refuse_moving

N = 20


def confounds(seed=0):
    rng = np.random.default_rng(seed)
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    table = pd.DataFrame({n: 1e-3 * rng.standard_normal(N).cumsum() for n in names})
    table["csf"] = rng.standard_normal(N)
    table["std_dvars"] = [np.nan, *(1 + 0.1 * rng.random(N - 1))]
    table["framewise_displacement"] = [np.nan, *(0.1 + 0.01 * rng.random(N - 1))]
    return table


def write(path, table, end="", header_end=""):
    text = table.to_csv(sep="\t", index=False, na_rep="n/a")
    first, *rest = text.splitlines()
    path.write_text("\n".join([first + header_end, *(line + end for line in rest)]) + "\n")
    return path


def test_numbers_are_those_of_pandas_to_the_last_digit(tmp_path):
    path = write(tmp_path / "c.tsv", confounds())
    expected = pd.read_csv(path, sep="\t", na_values=["n/a"])
    pd.testing.assert_frame_equal(read_confounds(path, N), expected, check_exact=True)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(("trans_x", -9999), ("csf", "-999.0"), ("csf", 999), ("std_dvars", 9999)),
        *(("trans_x", -9999.9), ("trans_y", 99.99), ("csf", 1e20)),
    ],
)
def test_a_code_of_missing_values_is_no_number(tmp_path, name, code):
    table = confounds().astype(object).fillna("n/a")
    table.loc[4, name] = code
    said = rf"line 6: found {re.escape(f'{float(code):g}')} \(once\) in column '{name}'"
    with pytest.raises(ScanFailed, match=said):
        read_confounds(write(tmp_path / "c.tsv", table), N)


@pytest.mark.parametrize("name", ["non_steady_state_outlier00", "a_comp_cor_00", "csf", "trans_x"])
@pytest.mark.parametrize("cell", ["--1", "1_000", "+-1", "1e", "0x10", "٣", "- 1", "True"])
def test_a_column_that_is_computed_with_holds_no_words(tmp_path, name, cell):
    table = confounds().astype(object).fillna("n/a")
    table[name] = cell
    said = rf"line 2: found {re.escape(repr(cell))} in column '{name}', expected a number"
    with pytest.raises(ScanFailed, match=said):
        read_confounds(write(tmp_path / "c.tsv", table), N)


def test_a_column_of_decimal_commas_is_numbers_and_one_of_marks_counts(tmp_path):
    table = confounds().astype(object).fillna("n/a")
    table["csf"] = "1,5"
    table["non_steady_state_outlier00"] = ["1", *["0"] * (N - 1)]
    found = read_confounds(write(tmp_path / "c.tsv", table), N)
    assert (found["csf"] == 1.5).all()
    assert n_non_steady(found) == 1


def test_rotations_in_degrees_are_refused(tmp_path):
    table = confounds()
    table["rot_x"] = np.linspace(-0.5, 4.5, N)
    with pytest.raises(ScanFailed, match=r"found 4\.5 in column 'rot_x', expected radians"):
        read_confounds(write(tmp_path / "c.tsv", table), N)
    table["rot_x"] /= 2
    assert len(read_confounds(write(tmp_path / "c.tsv", table), N)) == N


@pytest.mark.parametrize("others", [[0.0], [0.0, 1.0], []], ids=["constant", "marks", "all codes"])
def test_a_code_is_told_beside_few_other_values(tmp_path, others):
    table = confounds()
    table["csf"] = -9999.0
    if others:
        table.loc[1:, "csf"] = np.resize(others, N - 1)
    with pytest.raises(ScanFailed, match=r"line 2: found -9999 .* in column 'csf'"):
        read_confounds(write(tmp_path / "c.tsv", table), N)


def test_a_tab_at_the_end_of_every_row_moves_no_column(tmp_path):
    table = confounds()
    found = read_confounds(write(tmp_path / "c.tsv", table, end="\t"), N)
    assert list(found) == list(table)
    assert displacement(found).mean == pytest.approx(table["framewise_displacement"].mean())


@pytest.mark.parametrize(
    "name",
    [
        *("framewise_displacement", "FramewiseDisplacement", "fd", "FD", "FD_Power", "fd_power"),
        *("FD-P", "FDP", "framewise_displacement_power", "FramewiseDisplacement_Power", "power_fd"),
    ],
)
def test_framewise_displacement_is_found_under_its_names(tmp_path, name):
    table = confounds()[["csf", "framewise_displacement"]]
    table = table.rename(columns={"framewise_displacement": name})
    table[name] = 5.0
    found = read_confounds(write(tmp_path / "c.tsv", table), N)
    assert (displacement(found).mean, displacement(found).kind) == (5.0, "power")
    assert displacement(found, "jenkinson") is None
    with pytest.raises(ScanExcluded, match=r"\(Power's\) 5\.00 mm, above"):
        refuse_moving(found, Preprocess(), "c.tsv")


@pytest.mark.parametrize(
    "name",
    [
        *("rmsd", "FD_Jenkinson", "fd_jenkinson", "FD_J", "fdJenk", "rel_rms", "Relative RMS"),
        *("framewise_displacement_jenkinson", "fdrms"),
    ],
)
def test_jenkinsons_displacement_counts_where_there_is_no_other(tmp_path, name, caplog):
    table = pd.DataFrame({"csf": np.arange(N), name: [np.nan, *[2.0] * (N - 1)]})
    found = read_confounds(write(tmp_path / "c.tsv", table), N)
    assert (displacement(found).mean, displacement(found).kind) == (2.0, "jenkinson")
    assert displacement(found, "power") is None
    with pytest.raises(ScanExcluded, match=r"\(Jenkinson's\) 2\.00 mm, above"):
        refuse_moving(found, Preprocess(), "c.tsv")
    assert "c.tsv: limits on motion are applied to Jenkinson's" in caplog.text
    table["FD"] = 0.1
    found = displacement(read_confounds(write(tmp_path / "c.tsv", table), N))
    assert (found.mean, found.kind) == (pytest.approx(0.1), "power")


def test_names_of_the_first_fmriprep_are_known(tmp_path):
    table = confounds()
    old = {"framewise_displacement": "FramewiseDisplacement", "std_dvars": "stdDVARS", "csf": "CSF"}
    old |= {f"trans_{a}": a.upper() for a in "xyz"} | {f"rot_{a}": f"Rot{a.upper()}" for a in "xyz"}
    renamed = table.rename(columns=old)
    renamed["aCompCor00"], renamed["WhiteMatter"], renamed["GlobalSignal"] = 1.0, 2.0, 3.0
    renamed["NonSteadyStateOutlier00"] = [1, *[0] * (N - 1)]
    found = read_confounds(write(tmp_path / "c.tsv", renamed), N)
    pd.testing.assert_frame_equal(found[list(table)], table, rtol=1e-12)
    assert {"a_comp_cor_00", "white_matter", "global_signal"} <= set(found)
    assert n_non_steady(found) == 1


def test_without_a_column_displacement_is_computed_from_the_motion_parameters(tmp_path):
    table = confounds().drop(columns="framewise_displacement")
    found = read_confounds(write(tmp_path / "c.tsv", table), N)
    trans = table.filter(like="trans").diff().abs().sum(axis=1)[1:]
    rot = table.filter(like="rot").diff().abs().sum(axis=1)[1:]
    assert displacement(found).mean == pytest.approx((trans + 50 * rot).mean())
    assert np.isnan(power_displacement(found)[0])


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({}, r"c\.tsv: .*max_mean_fd 0\.5 cannot be applied"),
        ({"max_mean_fd": None, "max_censored_fraction": 0.3}, r"max_censored_fraction 0\.3 cannot"),
        ({"max_mean_fd": None, "max_std_dvars": 1.2}, r"\(std_dvars\), so that .*1\.2 cannot"),
    ],
)
def test_a_limit_that_cannot_be_applied_is_said(tmp_path, limits, says):
    found = read_confounds(write(tmp_path / "c.tsv", confounds()[["csf"]]), N)
    assert displacement(found) is None
    with pytest.raises(ScanExcluded, match=says):
        refuse_moving(found, Preprocess(**limits), "c.tsv")
    assert refuse_moving(found, Preprocess(max_mean_fd=None), "c.tsv") is None


@pytest.mark.parametrize("name", ["enorm", "FD_VanDijk", "framewise_displacement_filtered"])
def test_another_measure_is_no_framewise_displacement_and_is_named(tmp_path, name):
    table = pd.DataFrame({"csf": np.arange(N), name: 0.01})
    found = read_confounds(write(tmp_path / "c.tsv", table), N)
    assert displacement(found) is None
    with pytest.raises(ScanExcluded, match=f"'{name}': another measure"):
        refuse_moving(found, Preprocess(), "c.tsv")


def test_a_negative_displacement_is_refused():
    with pytest.raises(ScanFailed, match="-9999 mm"):
        displacement(pd.DataFrame({"framewise_displacement": [0.1, -9999.0]}))


def test_infinite_values_are_missing_and_said(tmp_path, caplog):
    table = confounds()
    table.loc[3, "csf"] = np.inf
    found = read_confounds_table(write(tmp_path / "c.tsv", table))
    assert np.isnan(found["csf"][3])
    assert "1 infinite values of 'csf'" in caplog.text


def test_a_whole_number_of_400_digits_is_infinite(tmp_path, caplog):
    (tmp_path / "c.tsv").write_text("csf\n" + "9" * 400 + "\n12\n")
    found = read_confounds_table(tmp_path / "c.tsv")
    np.testing.assert_array_equal(found["csf"], [np.nan, 12])
    assert "1 infinite values of 'csf'" in caplog.text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.replace("csf", "std_dvars"), "the name 'std_dvars' is given"),
        (lambda t: t.replace("\n", "\tx\n", 2).replace("\tx", "", 1), "line 2: found 10 fields"),
        (
            lambda t: t.rpartition("\n")[0].rpartition("\n")[0],
            "found 19 rows, expected one",
        ),
        (lambda t: t.replace("n/a", "none", 1), r"line 2: found 'none' in column 'std_dvars'"),
    ],
)
def test_a_table_that_does_not_fit_fails_with_the_cause(tmp_path, spoil, message):
    path = write(tmp_path / "c.tsv", confounds())
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ScanFailed, match=message):
        read_confounds(path, N)


def test_decimal_commas_are_read(tmp_path):
    path = write(tmp_path / "c.tsv", confounds())
    expected = read_confounds(path, N)
    path.write_text(path.read_text().replace(".", ","))
    pd.testing.assert_frame_equal(read_confounds(path, N), expected)


def test_a_link_into_an_annex_that_is_not_there_is_named(tmp_path):
    (tmp_path / ".datalad").mkdir()
    (tmp_path / "c.tsv").symlink_to("/nonexistent/.git/annex/objects/x.tsv")
    with pytest.raises(ScanFailed, match="datalad get"):
        read_confounds(tmp_path / "c.tsv", N)
