"""Only a regular file is opened, and no more of it is read than its reader allows."""

from __future__ import annotations

import gzip
import os
import socket

import pytest

from brainmass_core.readers.regular_file import FileError, check_capacity, check_regular, read_bytes


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
        (pipe, "found a named pipe, expected a file"),
        (broken, "no such file; fetch it, with DataLad: `datalad get`"),
        (circle, "Too many levels of symbolic links"),
        (device, "found a device"),
        (listening, "found a socket"),
        (lambda p: p.mkdir(), "found a folder"),
        (lambda p: None, "no such file; restore it"),
    ],
    ids=["pipe", "broken link", "circular link", "device", "socket", "folder", "missing"],
)
def test_what_is_no_regular_file_is_refused_without_opening_it(tmp_path, monkeypatch, make, said):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    path = tmp_path / "x"
    make(path if make is not listening else path.relative_to(tmp_path))
    for read in (check_regular, lambda p: read_bytes(p, 10)):
        with pytest.raises(FileError, match=said) as raised:
            read(path)
        assert str(path) in str(raised.value)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("1")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(FileError, match="may not be read; mend its permissions"):
        check_regular(tmp_path / "x")


def test_the_size_of_a_file_or_of_what_a_link_leads_to(tmp_path):
    (tmp_path / "x").write_bytes(b"123")
    (tmp_path / "y").symlink_to("x")
    assert check_regular(tmp_path / "x") == check_regular(tmp_path / "y") == 3


@pytest.mark.parametrize("name", ["x.txt", "x.txt.gz"])
def test_the_limit_is_that_of_what_a_file_holds(tmp_path, name):
    path, content = tmp_path / name, b"1\n" * 500
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_bytes(path, 1000) == content
    with pytest.raises(FileError, match="holds more than the 999 bytes"):
        read_bytes(path, 999)


def test_damaged_compression_is_named_whatever_was_cut(tmp_path):
    path = tmp_path / "x.gz"
    whole = gzip.compress(os.urandom(2000))
    for part in [whole[: i * len(whole) // 16] for i in range(1, 16)] + [whole[:-8] + bytes(8)]:
        path.write_bytes(part)
        with pytest.raises(FileError, match="damaged or incomplete"):
            read_bytes(path, 10**6)


def test_a_header_cannot_claim_more_than_a_file_holds(tmp_path):
    for name, room in {"x.nii": 100, "x.nii.gz": 103_200}.items():
        (tmp_path / name).write_bytes(bytes(100))
        check_capacity(tmp_path / name, room)
        with pytest.raises(FileError, match="its header claims"):
            check_capacity(tmp_path / name, room + 1)
