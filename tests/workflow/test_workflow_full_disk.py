"""A full disk stops the run with a clear message and loses nothing that was finished."""

import os
import subprocess

import pytest
import study

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 300 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_is_named_and_the_same_command_goes_on(small_disk, ready_series, tmp_path):
    config = study.ready_series_config(ready_series, results=str(small_disk / "results"))
    study.write_config(tmp_path, config)
    done = study.snakemake(tmp_path, "--cores", "2", "pfc")
    assert done.returncode != 0
    assert "No space left on device" in done.stdout + done.stderr
    assert "free space" in done.stdout + done.stderr
    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    study.succeed(tmp_path, "pfc")


def test_an_unwritable_results_folder_is_refused_before_any_job(small_disk, ready_series, tmp_path):
    config = study.ready_series_config(ready_series, results=str(small_disk / "results"))
    study.write_config(tmp_path, config)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = study.snakemake(tmp_path, "--cores", "2")
    assert done.returncode != 0
    assert "results: cannot write to" in done.stdout + done.stderr
