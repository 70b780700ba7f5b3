"""What a user points at is a regular file of sensible size, or it is refused by name."""

from __future__ import annotations

import gzip
import os
import socket
import tracemalloc

import pytest

from brainmass_core.readers import FileError, Limits, read_bytes, read_lines
from brainmass_core.readers.files import check_capacity, check_regular


def pipe(path):
    os.mkfifo(path)


def broken(path):
    path.symlink_to("nowhere")


def circle(path):
    path.symlink_to(path)


def device(path):
    path.symlink_to("/dev/zero")


def listening(path):
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (pipe, "is a named pipe, expected a regular file"),
        (broken, "a link to nowhere, which does not exist; repair the link"),
        (circle, "Too many levels of symbolic links"),
        (device, "is a device"),
        (listening, "is a socket"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: None, "no such file; restore it, or correct the path"),
    ],
    ids=["pipe", "broken link", "circular link", "device", "socket", "folder", "missing"],
)
def test_what_is_no_regular_file_is_refused_without_opening_it(tmp_path, monkeypatch, make, said):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    path = tmp_path / "x"
    make(path if make is not listening else path.relative_to(tmp_path))
    for read in (check_regular, read_bytes, read_lines):
        with pytest.raises(FileError, match=said) as raised:
            read(path)
        assert str(path) in str(raised.value)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("1")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(FileError, match="no permission to read it; change its permissions"):
        check_regular(tmp_path / "x")


def test_the_size_of_a_file_or_of_what_a_link_leads_to(tmp_path):
    (tmp_path / "x").write_bytes(b"123")
    (tmp_path / "y").symlink_to("x")
    assert check_regular(tmp_path / "x") == check_regular(tmp_path / "y") == 3


@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz"])
def test_the_limit_is_that_of_what_a_file_holds(tmp_path, name):
    path, content = tmp_path / name, b"1\n" * 500
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_bytes(path, Limits(n_bytes=1000)) == content
    with pytest.raises(FileError, match="contains more than 999 bytes"):
        read_bytes(path, Limits(n_bytes=999))


def test_damaged_compression_is_named_whatever_was_cut(tmp_path):
    path = tmp_path / "x.gz"
    whole = gzip.compress(os.urandom(2000))
    for part in [whole[: i * len(whole) // 16] for i in range(1, 16)] + [whole[:-8] + bytes(8)]:
        path.write_bytes(part)
        with pytest.raises(FileError, match="damaged or incomplete"):
            read_bytes(path)


def test_a_header_cannot_claim_more_than_a_file_holds(tmp_path):
    for name, room in {"x.nii": 100, "x.nii.gz": 103_200}.items():
        (tmp_path / name).write_bytes(bytes(100))
        check_capacity(tmp_path / name, room)
        with pytest.raises(FileError, match="its header gives"):
            check_capacity(tmp_path / name, room + 1)


@pytest.mark.parametrize(
    ("target", "annexed"),
    [
        ("../../.git/annex/objects/aa/bb/MD5E-s1--x.tsv", True),
        (".git/modules/sub-01/annex/objects/x.tsv", True),
        ("/nonexistent/annex/x.tsv", False),
        ("annex", False),
    ],
)
def test_only_a_link_into_an_annex_asks_for_datalad(tmp_path, target, annexed):
    (tmp_path / ".git/annex").mkdir(parents=True)
    (tmp_path / "p.tsv").symlink_to(target)
    (tmp_path / "q.tsv").symlink_to("p.tsv")
    for name in ("p.tsv", "q.tsv"):
        said = f"{name}: a link to .*, which does not exist"
        with pytest.raises(FileError, match=said) as caught:
            read_lines(tmp_path / name)
        assert ("datalad get" in str(caught.value)) == annexed
        assert ("repair the link" in str(caught.value)) != annexed


REMEDY = {
    ".git/annex/x": "`datalad get`",
    ".git/refs/heads/git-annex": "`datalad get`",
    ".git/refs/remotes/origin/git-annex": "`datalad get`",
    ".git/packed-refs": "`datalad get`",
    ".datalad/config": "`datalad get`",
    "sub/.git": "`datalad get`",
    ".git/HEAD": "copy the file itself",
    "nothing": "copy the file itself",
}


@pytest.mark.parametrize(("there", "remedy"), REMEDY.items())
def test_datalad_is_proposed_only_in_a_data_set_of_it(tmp_path, there, remedy):
    marker = tmp_path / there
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text("1 refs/remotes/origin/git-annex\n" if "packed" in there else "")
    if there == "sub/.git":  # a data set in another
        marker.write_text("gitdir: ../.git/modules/sub\n")
        (tmp_path / ".git/modules/sub/annex").mkdir(parents=True)
    folder = tmp_path / "sub/func"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link.tsv").symlink_to("../../.git/annex/objects/aa/x.tsv")
    (folder / "pointer.tsv").write_text("/annex/objects/MD5E-s3--abc.tsv\n")
    (tmp_path / "elsewhere").symlink_to("sub")  # reached by another way
    for path in (folder / "link.tsv", folder / "pointer.tsv", tmp_path / "elsewhere/func/link.tsv"):
        with pytest.raises(FileError, match=remedy) as caught:
            read_lines(path)
        assert ("datalad get" in str(caught.value)) == ("datalad get" in remedy)


def test_git_lfs_is_proposed_only_in_a_repository(tmp_path):
    path = tmp_path / "p.tsv"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FileError, match="copy the file itself"):
        read_lines(path)
    (tmp_path / ".git").mkdir()
    with pytest.raises(FileError, match="`git lfs pull`"):
        read_lines(path)


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
        (b"\xff\xfea\x00\t", "of its byte order mark"),
        (b"/annex/objects/MD5E-s3--abc.tsv\n", "pointer to its content.*annex"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer to its content.*git-lfs"),
    ],
)
def test_what_is_no_text_is_called_what_it_is(tmp_path, content, message):
    (tmp_path / "p.tsv").write_bytes(content)
    with pytest.raises(FileError, match=message):
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
    with pytest.raises(FileError, match=r"more than .* 1,000,000 lines after decompression"):
        read_lines(path)
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()


def test_very_long_lines_and_files_are_refused(tmp_path):
    (tmp_path / "p.tsv").write_text("x" * 100 + "\n")
    with pytest.raises(FileError, match="line 1 has 100 characters"):
        read_lines(tmp_path / "p.tsv", Limits(n_line=99))
    with pytest.raises(FileError, match="more than 100 bytes"):
        read_lines(tmp_path / "p.tsv", Limits(n_bytes=100))


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(b"a\tb\n" * 99)[:-9]], ids=["text", "cut"]
)
def test_a_damaged_archive_is_named(tmp_path, content):
    (tmp_path / "p.tsv.gz").write_bytes(content)
    with pytest.raises(FileError, match=r"p\.tsv\.gz: cannot be read .*copy it again"):
        read_lines(tmp_path / "p.tsv.gz")
