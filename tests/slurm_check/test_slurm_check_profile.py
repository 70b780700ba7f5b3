"""Snakemake's profile is read as Snakemake reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmass_core.slurm_check.profile import Profile, ProfileError, read_profile

ROOT = Path(__file__).parents[2]


def test_the_profile_of_this_repository():
    profile = read_profile(ROOT / "slurm")
    assert profile.file == ROOT / "slurm" / "config.yaml"
    assert (profile.mem_mb, profile.minutes, profile.jobs) == (2000, 60, 100)
    assert (profile.retries, profile.latency_wait) == (2, 60)
    assert profile.partition is None
    assert profile.status_command is None


@pytest.mark.parametrize(
    "resources",
    [
        "default-resources:\n  slurm_partition: '\"gpu\"'\n  slurm_account: lab\n  mem_mb: 3000\n",
        "default-resources:\n  - slurm_partition='gpu'\n  - slurm_account=lab\n  - mem_mb=3000\n",
    ],
)
def test_resources_as_a_mapping_or_a_list(tmp_path, resources):
    (tmp_path / "config.yaml").write_text(
        f"{resources}slurm-requeue: true\nslurm-status-command: squeue\n"
    )
    profile = read_profile(tmp_path)
    assert (profile.partition, profile.account, profile.mem_mb) == ("gpu", "lab", 3000)
    assert profile.requeue
    assert profile.status_command == "squeue"


def test_the_newer_file_name_takes_precedence(tmp_path):
    (tmp_path / "config.yaml").write_text("jobs: 1\n")
    (tmp_path / "config.v8+.yaml").write_text("jobs: 2\n")
    assert read_profile(tmp_path).jobs == 2


def test_an_empty_profile_has_defaults(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    assert read_profile(tmp_path) == Profile(tmp_path / "config.yaml")


def test_a_folder_without_a_profile_is_refused(tmp_path):
    with pytest.raises(ProfileError, match=r"contains no config\.yaml"):
        read_profile(tmp_path)


@pytest.mark.parametrize("text", ["jobs: many\n", "- a\n", "a: [\n", "default-resources: 5\n"])
def test_a_file_that_is_no_profile_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ProfileError, match=r"config\.yaml: cannot be read"):
        read_profile(tmp_path)
