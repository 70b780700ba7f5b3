"""Series files that people have: what is a header, whose column it is, what is no series."""

from __future__ import annotations

import io
import logging
import pickle
import re
import warnings
import zipfile

import numpy as np
import pytest

from brainmass_core.readers.matrices import matrix_kind, other_than_series
from brainmass_core.readers.series import (
    SeriesError,
    read_named_series,
    read_series,
    series_shapes,
)
from brainmass_core.readers.series_names import NamesError, order_of

X = np.random.default_rng(0).normal(size=(30, 12)).round(6)
AAL = [2001, 2002, 2101, 2102, 2111, 2112, 2201, 2202, 2211, 2212, 2301, 2302]
INDEX = list(range(1, 13))
NAMES = [f"R{i}" for i in INDEX]


def write(path, rows, header=None, sep="\t", before=""):
    lines = [] if header is None else [sep.join(map(str, header))]
    lines += [sep.join(map(str, row)) for row in rows]
    path.write_text(before + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "header",
    [
        AAL,
        [f"{v}.0" for v in AAL],
        [f"ROI{v}" for v in AAL],
        range(12),
        range(1, 13),
        range(5, 17),
        range(10, 130, 10),
        [f"{v}.0" for v in range(1, 13)],
        range(12, 0, -1),
        [f"#{v}" for v in AAL],
        ['"V1"', *(f'"V{i}"' for i in range(2, 13))],
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x.1D"])
def test_a_first_row_of_numbers_of_columns_is_no_timepoint(tmp_path, header, name):
    path = write(tmp_path / name, X, header, "," if name == "x.csv" else "\t")
    np.testing.assert_array_equal(read_series(path), X)
    assert series_shapes(path) == {None: X.shape}


@pytest.mark.parametrize(
    "first",
    [
        list(np.arange(12) / 2 + 0.5),  # even steps
        list(np.sort(X[0])),  # ascending
        [3, 1, 2, 12, 11, 10, 4, 5, 6, 9, 8, 7],  # whole numbers over others that are not
    ],
)
def test_a_first_row_that_may_be_a_header_is_asked_about_until_somebody_says(tmp_path, first):
    path = write(tmp_path / "x.tsv", X, first)
    for read in (read_series, series_shapes):
        with pytest.raises(SeriesError, match=r"x\.tsv: the first row .* set header"):
            read(path)
    assert read_series(path, header=True).shape == (30, 12)
    assert read_series(path, header=False).shape == (31, 12)
    assert series_shapes(path, header=False) == {None: (31, 12)}


def test_ascending_whole_numbers_over_whole_numbers_are_asked_about(tmp_path):
    counts = np.random.default_rng(1).integers(900, 1100, (30, 12))
    with pytest.raises(SeriesError, match="set header"):
        read_series(write(tmp_path / "x.tsv", counts, AAL))
    assert read_series(tmp_path / "x.tsv", header=True).shape == (30, 12)


def test_measured_rows_are_data_whatever_they_begin_with(tmp_path):
    for first in (X[5], np.zeros(12), np.ones(12, int)):
        path = write(tmp_path / "x.tsv", X, first)
        assert read_series(path).shape == (31, 12)


def test_a_header_that_is_none_is_refused(tmp_path):
    path = write(tmp_path / "x.tsv", X, NAMES)
    with pytest.raises(SeriesError, match="R1"):
        read_series(path, header=False)


@pytest.mark.parametrize(
    ("header", "first"),
    [("", range(30)), ("Unnamed: 0", range(30)), ("", range(1, 31)), ("time", np.arange(30) * 2.0)],
)
def test_a_column_that_says_which_row_it_is_is_left_out_and_said(tmp_path, header, first, caplog):
    rows = [[i, *row] for i, row in zip(first, X, strict=True)]
    path = write(tmp_path / "x.csv", rows, [header, *NAMES], ",")
    with caplog.at_level(logging.INFO, "brainmass_core"):
        series = read_named_series(path)
    np.testing.assert_array_equal(series.values, X)
    assert series.names == NAMES
    assert series_shapes(path) == {None: X.shape}
    assert "is ignored" in caplog.text
    numbers = write(path, rows, [header, *range(12)], ",")
    np.testing.assert_array_equal(read_series(numbers), X)


def test_a_first_column_without_a_name_that_counts_nothing_is_refused(tmp_path):
    path = write(tmp_path / "x.csv", X, ["", *NAMES[1:]], ",")
    with pytest.raises(SeriesError, match="first column has no name"):
        read_series(path)


def test_row_numbers_without_any_header_are_refused(tmp_path):
    path = write(tmp_path / "x.tsv", [[i, *row] for i, row in enumerate(X)])
    with pytest.raises(SeriesError, match="first column counts the rows"):
        read_series(path)


@pytest.mark.parametrize("place", [0, 12])
@pytest.mark.parametrize(("start", "step"), [(0, 2.0), (5, 1), (30, -1), (0.36, 0.72)])
@pytest.mark.parametrize("name", ["x.npy", "x.tsv"])
def test_a_column_of_times_is_no_region(tmp_path, name, place, start, step):
    rows = np.insert(X, place, start + step * np.arange(len(X)), axis=1)
    path = tmp_path / name
    np.save(path, rows) if name == "x.npy" else write(path, rows, ["trial", *NAMES])
    which = "last" if place else "first"
    with pytest.raises(SeriesError, match=rf"the {which} column counts the rows \({start:g}, "):
        read_series(path)


@pytest.mark.parametrize("code", [-9999, -999.0, -99999])
def test_a_code_of_missing_values_is_no_signal(tmp_path, code):
    rows = X + 100
    rows[3, [2, 5]] = code
    np.save(tmp_path / "x.npy", rows)
    with pytest.raises(SeriesError, match=rf"x.npy: found {code:g} in 2 cells.*write n/a"):
        read_series(tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", -abs(X) * 9000 / abs(X).max() - (rows == code) * 999)
    assert read_series(tmp_path / "x.npy").shape == X.shape


@pytest.mark.parametrize("second", [INDEX, AAL, [f"{v}.0" for v in AAL]])
def test_a_second_header_is_no_timepoint(tmp_path, second):
    path = write(tmp_path / "x.tsv", [second, *X], NAMES)
    with pytest.raises(SeriesError, match="below the header a row counts the columns"):
        read_series(path)


@pytest.mark.parametrize("first", [[2001, 2301, 2002, 2101], [3, 1, 2, 4, 9, 7]])
def test_a_few_whole_numbers_in_any_order_over_decimals_are_asked_about(tmp_path, first):
    path = write(tmp_path / "x.tsv", X[:, : len(first)], first)
    with pytest.raises(SeriesError, match="may be numbers of columns or a timepoint"):
        read_series(path)


@pytest.mark.parametrize(
    ("name", "sep", "comma", "said"),
    [
        ("x.csv", ";", False, "separated by semicolons: write them with commas"),
        ("x.tsv", ";", True, "separated by semicolons: write them with tabs"),
        ("x.tsv", "\t", True, "decimals are written with a comma: write them with a point"),
        ("x.txt", " ", True, "decimals are written with a comma: write them with a point"),
        (
            "x.tsv",
            ",",
            False,
            "suffix tabs separate fields, but they are separated by commas",
        ),
        (
            "x.csv",
            "\t",
            False,
            "suffix commas separate fields, but they are separated by tabs",
        ),
        ("x.1D", ",", False, "white space separates fields, but .* separated by commas"),
    ],
)
def test_what_separates_fields_and_decimals_is_said(tmp_path, name, sep, comma, said):
    path = write(tmp_path / name, X, sep=sep)
    if comma:
        path.write_text(path.read_text().replace(".", ","))
    with pytest.raises(SeriesError, match=said):
        read_series(path)


def test_a_matrix_that_is_not_quite_symmetric_is_refused():
    rng = np.random.default_rng(1)
    rounded = np.corrcoef(X.T) + 1e-3 * rng.normal(size=(12, 12))
    directed = rng.random((12, 12))
    np.fill_diagonal(directed, 0)
    assert matrix_kind(rounded) == "a nearly symmetric matrix"
    assert matrix_kind(directed) == "a matrix with one value along its diagonal"
    assert matrix_kind(X[:12]) is None
    assert matrix_kind(np.cumsum(X[:12], axis=0)) is None  # drifts
    assert matrix_kind(np.arange(12.0)[:, None] + X[:12] / 9) is None  # of all regions


def test_row_names_without_a_name_in_the_header_are_refused(tmp_path):
    rows = [[i + 1, *row] for i, row in enumerate(X)]  # R's write.table
    with pytest.raises(SeriesError, match=r"12 names .* 13 fields; write the table without row"):
        read_series(write(tmp_path / "x.tsv", rows, NAMES))


def test_a_delimiter_at_the_end_of_every_row_is_left_out(tmp_path):
    for header in (None, NAMES, [*NAMES, ""]):
        path = write(tmp_path / "x.csv", [[*row, ""] for row in X], header, ",")
        np.testing.assert_array_equal(read_series(path), X)


def test_the_columns_of_afni_are_left_out_and_said(tmp_path, caplog):
    header = ["File", "Sub-brick", *(f"Mean_{i}" for i in INDEX)]
    rows = [["sfnwmrda1.nii.gz", f"{t}[?]", *row] for t, row in enumerate(X)]
    path = write(tmp_path / "sfnwmrda1_cc200_TCs.1D", rows, header)
    with caplog.at_level(logging.INFO, "brainmass_core"):
        series = read_named_series(path)
    np.testing.assert_array_equal(series.values, X)
    assert series.names == header[2:]
    assert series_shapes(path) == {None: X.shape}
    assert "File, Sub-brick" in caplog.text
    write(path, [*rows, rows[0][:-1]], header)
    with pytest.raises(SeriesError, match="data row 31 has 13 fields"):
        read_series(path)


def test_names_in_a_comment_are_names(tmp_path):
    path = write(tmp_path / "x.1D", X, before="# made by us\n#Vis\t" + "\t".join("#b" * 11) + "\n")
    assert read_named_series(path).names is None  # not as many as columns
    path = write(tmp_path / "x.1D", X, before="\t".join(f"#{n}" for n in NAMES) + "\n")
    assert read_named_series(path).names == NAMES


def test_utf16_and_missing_values_of_r_are_read(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("a\tb\n1.5\tNA\nnull\t2.5\n", encoding="utf-16")
    np.testing.assert_array_equal(read_series(path), [[1.5, np.nan], [np.nan, 2.5]])


SQUARES = {
    "a correlation": np.corrcoef(X[:, :6].T),
    "symmetric": np.cov(X[:, :6].T),
    "triangular": np.triu(np.corrcoef(X[:, :6].T)),
}
SQUARES["symmetric "] = np.arctanh(np.corrcoef(X[:, :6].T) - np.diag([1e-16] * 6))
SQUARES["symmetric  "] = np.where(np.eye(6, dtype=bool), np.nan, SQUARES["symmetric"])
SQUARES["a correlation "] = SQUARES["a correlation"].round(4)


@pytest.mark.parametrize("kind", SQUARES)
def test_a_matrix_between_regions_is_refused_as_what_it_is(tmp_path, kind):
    matrix = SQUARES[kind]
    np.save(tmp_path / "x.npy", matrix)
    np.savez(tmp_path / "x.npz", ts=X, fc=matrix)
    write(tmp_path / "x.tsv", matrix)
    write(tmp_path / "x.csv", matrix, NAMES[:6], ",")
    for name, key in (("x.npy", None), ("x.npz", "fc"), ("x.tsv", None), ("x.csv", None)):
        with pytest.raises(SeriesError, match=kind.strip()):
            read_series(tmp_path / name, key)
        assert isinstance(series_shapes(tmp_path / name)[key], SeriesError)
    assert series_shapes(tmp_path / "x.npz")["ts"] == X.shape


def test_a_series_of_as_many_timepoints_as_regions_is_no_matrix():
    assert matrix_kind(X[:12]) is None
    assert matrix_kind(X) is None
    assert matrix_kind(np.full((5, 5), np.nan)) is None


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("sub-01_task-rest_feature-corrMatrix_atlas-toy_desc-correlation_matrix", "matrix"),
        ("sub-01_stat-pearsoncorrelation_relmat", "matrix"),
        ("sub-01_conmat", "matrix"),
        ("sub-01_task-rest_desc-confounds_timeseries", "something else"),
        ("sub-01_task-rest_events", "something else"),
        ("participants", "something else"),
        ("sub-01_task-rest_feature-corrMatrix_atlas-toy_timeseries", None),
        ("sub-matrix_timeseries", None),
        ("Pitt_0050003_rois_cc200", None),
    ],
)
def test_some_names_say_that_a_file_is_no_series(stem, expected):
    found = other_than_series(stem)
    assert found is None if expected is None else expected in found


def test_pickled_objects_are_said_plainly(tmp_path):
    np.save(tmp_path / "dict.npy", {"ts": X}, allow_pickle=True)
    np.savez(tmp_path / "dict.npz", ts=np.array([X, X[1:]], dtype=object), allow_pickle=True)
    (tmp_path / "raw.npy").write_bytes(pickle.dumps({"ts": X}))
    table = np.array([(1.0, 2.0)], dtype=[("a", float), ("b", float)])
    np.save(tmp_path / "table.npy", table)
    for name, key, word in (
        ("dict.npy", None, "pickled Python objects"),
        ("dict.npz", "ts", "pickled Python objects"),
        ("raw.npy", None, "Python pickle"),
        ("table.npy", None, "named columns"),
    ):
        with pytest.raises(SeriesError, match=word):
            read_series(tmp_path / name, key)


def test_a_header_over_columns_of_timepoints_may_only_count(tmp_path):
    path = write(tmp_path / "x.tsv", X.T, [f"t{i}" for i in range(30)])
    np.testing.assert_array_equal(read_series(path, orientation="roi_by_time"), X)
    write(path, X, [f"Vis_{n}" for n in "abcdefghijkl"])
    with pytest.raises(SeriesError, match="orientation"):
        read_series(path, orientation="roi_by_time")


def test_columns_are_put_in_the_order_of_the_atlas_by_name():
    rng = np.random.default_rng(3)
    assert order_of(NAMES, NAMES, INDEX) is None
    for _ in range(20):
        permutation = rng.permutation(12)
        found = [NAMES[i] for i in permutation]
        order = order_of(found, NAMES, INDEX)
        assert order is None or [found[i] for i in order] == NAMES
        assert np.array_equal(X[:, permutation][:, order if order is not None else slice(None)], X)


def test_names_are_the_same_whatever_the_writer_made_of_them():
    atlas = ["7Networks_LH_Vis_1", "7Networks_LH_Vis_2", "7Networks_RH_Cont_Par_1"]
    for found in (
        ["LH_Vis_1", "LH_Vis_2", "RH_Cont_Par_1"],
        ["X7Networks_LH_Vis_1", "X7Networks_LH_Vis_2", "X7Networks_RH_Cont_Par_1"],
        ["lh vis.1", "lh vis.2", "rh cont-par.1"],
    ):
        assert order_of(found, atlas, [1, 2, 3]) is None
        assert order_of(found[::-1], atlas, [1, 2, 3]).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    "names",
    [[f"X{n}" for n in NAMES], [*NAMES[:11], "R13"], [*NAMES[:11], "R1"], ["csf", *NAMES[1:]]],
)
def test_names_of_another_atlas_are_refused(names):
    with pytest.raises(NamesError):
        order_of(names, NAMES, INDEX)


@pytest.mark.parametrize("form", ["ROI{}", "#{}", "{}", "Mean_{}", "V{}", "roi-{}"])
def test_names_that_count_are_no_names_but_their_order_counts(form):
    names = [f"{name} gyrus" for name in "abcdefghijkl"]
    assert order_of([form.format(i) for i in AAL], names, INDEX) is None
    turned = order_of([form.format(i) for i in INDEX[::-1]], names, INDEX)
    assert turned.tolist() == list(range(12))[::-1]
    with pytest.raises(NamesError, match="neither ascending"):
        order_of([form.format(i) for i in AAL[::-1]], names, INDEX)


def test_an_atlas_without_names_takes_any():
    plain = [f"roi-{i}" for i in INDEX]
    assert order_of([f"area {n}" for n in "abcdefghijkl"], plain, INDEX, named=False) is None


@pytest.mark.parametrize("rows", [slice(20, 30), slice(3, 5)], ids=["end", "middle"])
def test_rows_of_padding_are_refused(tmp_path, rows):
    padded = X.copy()
    padded[rows] = 0
    n = rows.stop - rows.start
    said = rf"x\.tsv: {n} rows, from row {rows.start + 1} on, are 0 in all regions"
    with pytest.raises(SeriesError, match=said):
        read_series(write(tmp_path / "x.tsv", padded))
    held = X.copy()
    held[rows.start : rows.start + 3] = held[rows.start]
    with pytest.raises(SeriesError, match=f"row {rows.start + 1} is followed by 2 rows that are"):
        read_series(write(tmp_path / "x.tsv", held))
    held[rows.start + 1] += 1e-6
    assert read_series(write(tmp_path / "x.tsv", held)).shape == X.shape


def test_parcels_without_values_are_no_padding_and_no_copies(tmp_path):
    values = X.copy()
    values[:, [2, 5, 7]] = 0
    values[:, [3, 4]] = np.nan
    values[9] = np.where(np.isnan(values[9]), np.nan, 0)  # one volume by chance
    np.save(tmp_path / "x.npy", values)
    np.testing.assert_array_equal(read_series(tmp_path / "x.npy"), values)


def test_a_series_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(SeriesError, match="its second half repeats the first"):
        read_series(write(tmp_path / "x.tsv", np.vstack([X, X])))
    assert read_series(write(tmp_path / "x.tsv", np.vstack([X, X[::-1]]))).shape == (60, 12)


def test_one_region_under_two_columns_is_refused(tmp_path):
    twins = np.column_stack([X, X[:, 4]])
    with pytest.raises(SeriesError, match="columns 5 and 13 contain the same values"):
        read_series(write(tmp_path / "x.tsv", twins))


@pytest.mark.parametrize("code", [-9999, 9999, 1e20, -1e34])
def test_codes_of_missing_values_are_refused_with_their_number(tmp_path, code):
    values = X.copy()
    values[[3, 8], [1, 2]] = code
    with pytest.raises(SeriesError, match=rf"found {re.escape(f'{code:g}')} in 2 cells"):
        read_series(write(tmp_path / "x.tsv", values))


def test_two_arrays_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for factor in (1, 2):
            buffer = io.BytesIO()
            np.save(buffer, X * factor)
            archive.writestr("ts.npy", buffer.getvalue())
    with pytest.raises(SeriesError, match="arrays of one name, 'ts'"):
        series_shapes(tmp_path / "x.npz")
