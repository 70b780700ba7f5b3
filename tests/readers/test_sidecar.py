"""A JSON object is read as it was meant, or refused by name."""

from __future__ import annotations

import json
import math

import pytest

from brainmass_core.readers import FileError, Limits
from brainmass_core.readers.sidecar import JsonError, read_object


def written(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ("[1, 2]", "found a JSON list"),
        ("3", "found a JSON int"),
        ("null", "found a JSON NoneType"),
        ("", "not JSON"),
        ('{"a": 1', "not JSON"),
        ('{"a": 1} {"b": 2}', "not JSON"),
        ('{"RepetitionTime": 2, "RepetitionTime": 3}', "'RepetitionTime' is written twice"),
        ('{"a": {"b": 1, "b": [1]}}', "'b' is written twice"),
        ("\ufeff{".encode("utf-16"), "not UTF-8"),
        (b'{"a": "\xe9"}', "not UTF-8"),
        (b"\0" * 100, "not JSON"),
    ],
)
def test_what_is_no_json_object_is_refused_by_name(tmp_path, content, said):
    path = written(tmp_path, content)
    with pytest.raises(JsonError, match=said) as raised:
        read_object(path)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize("n_digits", [301, 400, 5000, 1_000_000])
def test_a_number_of_very_many_digits_is_infinite(tmp_path, n_digits):
    digits = "1" + "0" * (n_digits - 1)
    found = read_object(written(tmp_path, f'{{"a": {digits}, "b": -{digits}, "c": 1e400}}'))
    assert found == {"a": math.inf, "b": -math.inf, "c": math.inf}


def test_a_mark_of_byte_order_a_repeated_equal_key_and_nan_are_read(tmp_path):
    content = '\ufeff{"a": 1, "a": 1, "b": NaN, "c": 12345678901234567890}'
    found = read_object(written(tmp_path, content))
    assert found["a"] == 1
    assert math.isnan(found["b"])
    assert found["c"] == 12345678901234567890


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path):
    path = written(tmp_path, json.dumps({"a": "x" * 1000}))
    with pytest.raises(FileError, match="contains more than 100 bytes"):
        read_object(path, Limits(n_bytes=100))
