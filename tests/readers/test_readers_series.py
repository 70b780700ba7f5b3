"""Reading ready series: every format gives the same numbers; damage is named."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import series

from brainmass_core.readers.matrices import matrix_kind, strange_values
from brainmass_core.readers.series import SUFFIXES, SeriesError, read_series, series_shapes

TEXT = [s for s in SUFFIXES if not s.startswith(".np")]


def write(path: Path, data: np.ndarray, header: str = "none") -> Path:
    """Write with numpy and pandas, which are independent of the reader."""
    name = path.name
    if name.endswith(".npy"):
        np.save(path, data)
    elif name.endswith(".npz"):
        np.savez(path, ts=data)
    else:
        separator = "," if ".csv" in name else "\t"
        frame = pd.DataFrame(data)
        if header == "names":
            frame.columns = [f"7Networks_LH_{i}" for i in frame]
        text = frame.to_csv(sep=separator, index=False, header=header in ("names", "numbers"))
        if header == "comment":
            text = "\t".join(f"#{i}" for i in range(data.shape[1])) + "\n" + text
        with (gzip.open if name.endswith(".gz") else open)(path, "wt") as file:
            file.write(text)
    return path


@given(series(), st.sampled_from(SUFFIXES), st.sampled_from(["time_by_roi", "roi_by_time"]))
def test_every_format_and_orientation_gives_the_series_back(data, suffix, orientation):
    assume(matrix_kind(data) is None and strange_values(data) is None)
    with tempfile.TemporaryDirectory() as folder:
        stored = data if orientation == "time_by_roi" else data.T
        path = write(Path(folder) / f"sub-01{suffix}", stored)
        result = read_series(path, None, orientation)
        np.testing.assert_array_equal(result, data)
        assert result.dtype == np.float64
        assert list(series_shapes(path, orientation).values()) == [data.shape]


@pytest.mark.parametrize("suffix", TEXT)
@pytest.mark.parametrize("header", ["none", "names", "numbers", "comment"])
def test_a_header_is_no_timepoint(tmp_path, suffix, header):
    data = np.random.default_rng(0).normal(size=(5, 4))
    path = write(tmp_path / f"x{suffix}", data, header)
    np.testing.assert_allclose(read_series(path), data, rtol=1e-15)
    assert series_shapes(path) == {None: (5, 4)}


def test_missing_values_become_nan(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("a\tb\n1.5\tn/a\nn/a\t2.5\n")
    np.testing.assert_array_equal(read_series(path), [[1.5, np.nan], [np.nan, 2.5]])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", "1.5,2.5\n3.5\n", ["x.csv", "columns"]),
        ("x.tsv", "1.5\t2.5\n3.5\tabc\n", ["x.tsv", "abc"]),
        ("x.1D", "1.5 abc\n2.5 3.5\n", ["x.1D", "abc"]),  # no header: a number stands beside
        ("x.csv", "1.5,2.5\n,3.5\n", ["x.csv"]),
        ("x.txt", "# only a comment\n\n", ["x.txt", "no numbers"]),
        ("x.npy", "not an array", ["x.npy", "damaged"]),
        ("x.npz", "not an archive", ["x.npz", "damaged"]),
        ("x.1D.gz", "not compressed", ["x.1D.gz", "damaged"]),
        ("x.mat", "1 2", ["x.mat", "unknown kind"]),
    ],
)
def test_a_file_that_is_no_series_is_named(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(SeriesError) as error:
        read_series(path)
    assert all(w in str(error.value) for w in words)


def test_a_truncated_gzip_is_named(tmp_path):
    path = write(tmp_path / "x.1D.gz", np.random.default_rng(0).normal(size=(50, 4)))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SeriesError, match="damaged"):
        read_series(path)


@pytest.mark.parametrize(
    "array",
    [np.zeros(3), np.zeros((2, 3, 4)), np.zeros((0, 4)), np.zeros((2, 3), complex)],
)
def test_an_array_that_is_no_series_is_named_by_reader_and_listing(tmp_path, array):
    for path in (tmp_path / "x.npy", tmp_path / "x.npz"):
        np.savez(path, ts=array) if path.suffix == ".npz" else np.save(path, array)
        with pytest.raises(SeriesError, match=str(path)):
            read_series(path)
    assert isinstance(series_shapes(tmp_path / "x.npz")["ts"], SeriesError)


@pytest.mark.parametrize("field", ['"', '""', '0"5', '"0.5', '0.5"', '""0.5""'])
def test_a_field_is_quoted_on_either_side_or_refused(tmp_path, field):
    path = tmp_path / "x.txt"
    for row in (field, f"0.5 {field} 2.25"):
        path.write_text(f"1.5 2.5 3.5\n{row}\n0.5 1.5 2.25\n")
        with pytest.raises(SeriesError, match=r"x\.txt: data row 2: found .* quote"):
            read_series(path)
    path.write_text('1.5 "2.5"\n0.5 2.25\n')
    np.testing.assert_array_equal(read_series(path), [[1.5, 2.5], [0.5, 2.25]])


def test_a_header_that_describes_no_array_is_refused(tmp_path):
    raw = bytearray(write(tmp_path / "x.npy", np.ones((3, 2))).read_bytes())
    sound = bytes(raw)
    raw[10:30] = b"((((" * 5
    (tmp_path / "x.npy").write_bytes(raw)
    with pytest.raises(SeriesError, match=r"x\.npy.*header describes no array"):
        read_series(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes(sound.replace(b"(3, 2)", b"(True, 6)"))
    with pytest.raises(SeriesError, match=r"x\.npy.*describes no array: found the shape"):
        read_series(tmp_path / "x.npy")


def test_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(SeriesError):
        read_series(tmp_path / "x.npy")


def test_one_of_several_arrays_must_be_chosen(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones((2, 3)), b=np.zeros((4, 3)))
    assert read_series(path, "a").sum() == 6
    assert series_shapes(path) == {"a": (2, 3), "b": (4, 3)}
    for key in (None, "c"):
        with pytest.raises(SeriesError, match=r"\['a', 'b'\]"):
            read_series(path, key)


@pytest.mark.shared
def test_pcp_files_read_as_numpy_reads_them(shared_data):
    files = sorted((shared_data / "oracle_abide_cpac_dev").glob("*/*.1D*"))
    assert len(files) > 20
    for file in files:
        expected = np.loadtxt(file)  # skips '#' lines, opens .gz
        np.testing.assert_array_equal(read_series(file), expected)
        assert series_shapes(file) == {None: expected.shape}


@pytest.mark.shared
def test_the_two_releases_of_a_participant_agree(shared_data):
    text = shared_data / "oracle_abide_cpac_dev/cc200_nofilt_noglobal/Pitt_0050003_rois_cc200.1D"
    arrays = shared_data / "abide_pcp_dev/cc200_nofilt_noglobal_float32/Pitt.npz"
    np.testing.assert_allclose(
        read_series(text), read_series(arrays, "Pitt_0050003"), rtol=1e-6, atol=1e-3
    )


@pytest.mark.shared
def test_named_columns_read_as_pandas_reads_them(shared_data):
    path = shared_data / "oracle_nipype/fmri_timeseries.csv"
    np.testing.assert_allclose(read_series(path), pd.read_csv(path).to_numpy(), rtol=1e-15)


@pytest.mark.parametrize("first", ["0\t1", "1\t2", "0\t1\t3", "1.5\t2\t7"])
def test_a_measured_row_is_not_taken_for_column_numbers(tmp_path, first):
    path = tmp_path / "x.tsv"
    path.write_text("\n".join([first, "\t".join(["7.5"] * len(first.split()))]))
    assert read_series(path).shape[0] == 2
