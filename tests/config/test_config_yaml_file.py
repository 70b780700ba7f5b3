"""Reading a YAML file: values that mean what they look like, and limits of size."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmass_core.config import ConfigError
from brainmass_core.config.yaml_file import read_yaml


@pytest.mark.parametrize("text", ["x: !!timestamp 99", "x: !!int ''", "x: !!bool maybe"])
def test_a_value_that_is_not_of_its_type_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml: not valid YAML"):
        read_yaml(tmp_path / "c.yaml")


def test_aliases_of_aliases_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 30)]
    (tmp_path / "c.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"c\.yaml: .* entries after expanding its aliases"):
        read_yaml(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("a: &a [*a]")
    with pytest.raises(ConfigError, match=r"c\.yaml: .* nested too deep"):
        read_yaml(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("a: &a [1, 2]\nb: [*a, *a]")
    assert read_yaml(tmp_path / "c.yaml") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("010", 8),
        ("12:30", 750),
        ("0x10", 16),
        ("0b11", 3),
        ("1_000", 1000),
        ("1:30.5", 90.5),
        ("1_0.5", 10.5),
        ("[1, 017]", 15),
    ],
)
def test_a_number_that_yaml_reads_as_another_is_refused(tmp_path, text, read):
    (tmp_path / "c.yaml").write_text(f"seed: {text}\n")
    with pytest.raises(ConfigError, match=rf"which YAML reads as {read}; .* quotes .*"):
        read_yaml(tmp_path / "c.yaml")


def test_plain_numbers_and_quoted_ones_are_as_written(tmp_path):
    (tmp_path / "c.yaml").write_text("a: [0, -7, +7, 2.50, -0.5, 1.0e+3, .inf, '010', '12:30']\n")
    expected = [0, -7, 7, 2.5, -0.5, 1000.0, float("inf"), "010", "12:30"]
    assert read_yaml(tmp_path / "c.yaml") == {"a": expected}
