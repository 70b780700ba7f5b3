"""One set of versions: constraints, conda environment and package agree."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def pins(root: Path) -> dict[str, str]:
    lines = (root / "constraints.txt").read_text().split()
    return {canonicalize_name(n): v for n, _, v in (line.partition("==") for line in lines)}


def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def requirements(root: Path, extras: tuple[str, ...] = ("workflow", "dev", "docs")) -> list:
    groups = project(root)["optional-dependencies"]
    texts = project(root)["dependencies"] + [r for e in extras for r in groups[e]]
    return [Requirement(t) for t in texts]


def test_the_constraints_are_sorted_and_without_local_versions(root: Path) -> None:
    lines = (root / "constraints.txt").read_text().split()
    assert lines == sorted(lines)
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)


def test_every_requirement_is_pinned_within_its_range(root: Path) -> None:
    pinned = pins(root)
    for requirement in requirements(root):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])


def test_what_is_installed_is_what_is_pinned(root: Path) -> None:
    for name, pin in pins(root).items():
        try:
            installed = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue  # of an extra that is not installed
        assert installed == pin, name


@pytest.mark.parametrize("file", ["brainmass.yaml"])
def test_conda_environments_hold_the_pins_of_all_dependencies(root: Path, file: str) -> None:
    environment = yaml.safe_load((root / "envs" / file).read_text())
    listed = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    found = dict(line.split("==") for line in listed)
    expected = {canonicalize_name(r.name) for r in requirements(root, extras=())}
    assert found == {name: pins(root)[name] for name in expected}
    assert "python=3.11" in environment["dependencies"]


def test_every_rule_names_an_environment_that_exists(root: Path) -> None:
    named = {
        (rules.parent / name).resolve()
        for rules in (root / "rules").glob("*.smk")
        for name in re.findall(r'conda:\s+"([^"]+)"', rules.read_text())
    }
    assert named == set((root / "envs").resolve().glob("*.yaml"))
