"""What a user points at is a regular text file of sensible size, or it is refused by name."""

from __future__ import annotations

import gzip
import os
import tracemalloc

import pytest

from brainmass_core.readers import Limits, ReadError, read_lines


def test_a_named_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pheno.tsv")
    with pytest.raises(ReadError, match=r"pheno\.tsv: is a named pipe, expected a regular file"):
        read_lines(tmp_path / "pheno.tsv")


def test_folders_and_devices_are_refused(tmp_path):
    with pytest.raises(ReadError, match="is a folder"):
        read_lines(tmp_path)
    (tmp_path / "zero.tsv").symlink_to("/dev/zero")
    with pytest.raises(ReadError, match="is a device"):
        read_lines(tmp_path / "zero.tsv")


def test_a_broken_link_says_where_it_points(tmp_path):
    (tmp_path / "p.tsv").symlink_to("/nonexistent/annex/x.tsv")
    with pytest.raises(ReadError, match=r"a link to /nonexistent/annex/x\.tsv.*datalad get"):
        read_lines(tmp_path / "p.tsv")
    with pytest.raises(ReadError, match="no such file"):
        read_lines(tmp_path / "q.tsv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\r\n", "is empty"),
        (b"PK\x03\x04rest", "Excel"),
        (b"\xd0\xcf\x11\xe0rest", "Excel"),
        (b"PAR1\x00", "Parquet"),
        (b"\x1f\x8b\x08", r"end in \.gz"),
        (b"a\tb\n1\x00\t2\n", "NUL bytes"),
        ("a\tb\n1\t2\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (b"\xff\xfea\x00\t", "byte order mark says"),
        (b"/annex/objects/MD5E-s3--abc.tsv\n", "datalad get"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_what_is_no_text_is_called_what_it_is(tmp_path, content, message):
    (tmp_path / "p.tsv").write_bytes(content)
    with pytest.raises(ReadError, match=message):
        read_lines(tmp_path / "p.tsv")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252"]
)
def test_encodings_are_told_apart(tmp_path, encoding):
    text = "participant_id\tnote\nsub-01\té ü ß\n"
    (tmp_path / "p.tsv").write_bytes(text.encode(encoding))
    assert read_lines(tmp_path / "p.tsv") == [*text.split("\n")]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf_16_of_either_order_is_read_by_its_mark(tmp_path, order):
    (tmp_path / "p.tsv").write_bytes("\ufeffé\tb\n".encode(order))
    assert read_lines(tmp_path / "p.tsv") == ["é\tb", ""]


def test_reading_latin_1_is_said_with_the_line(tmp_path, caplog):
    (tmp_path / "p.tsv").write_bytes("a\tb\n1\té\n".encode("latin-1"))
    read_lines(tmp_path / "p.tsv")
    assert "line 2 is not UTF-8" in caplog.text


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_ends_of_lines_are_known_and_nothing_else_is_one(tmp_path, end):
    lines = ["a\tb", "1\tform\x0cfeed", "2\tline\u2028separator", "3\tnext\x85line"]
    (tmp_path / "p.tsv").write_bytes(end.join(lines).encode())
    assert read_lines(tmp_path / "p.tsv") == lines


def test_a_small_archive_of_many_lines_is_refused_in_bounded_memory(tmp_path):
    path = tmp_path / "p.tsv.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(31):
            file.write(b"0\n" * 1_000_000)
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(ReadError, match=r"more than .* 1,000,000 lines after decompression"):
        read_lines(path)
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()


def test_very_long_lines_and_files_are_refused(tmp_path):
    (tmp_path / "p.tsv").write_text("x" * 100 + "\n")
    with pytest.raises(ReadError, match="line 1 has 100 characters"):
        read_lines(tmp_path / "p.tsv", Limits(n_line=99))
    with pytest.raises(ReadError, match="more than 0 MiB"):
        read_lines(tmp_path / "p.tsv", Limits(n_bytes=100))


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(b"a\tb\n" * 99)[:-9]], ids=["text", "cut"]
)
def test_a_damaged_archive_is_named(tmp_path, content):
    (tmp_path / "p.tsv.gz").write_bytes(content)
    with pytest.raises(ReadError, match=r"p\.tsv\.gz: cannot be read .*copy it again"):
        read_lines(tmp_path / "p.tsv.gz")
