"""Folders may be called what people call them; a shell sees one word and runs nothing of it."""

import pytest
import study
import yaml

pytestmark = pytest.mark.slow

ODD = """it's "my" $(touch run) `touch run`; é ü [1] & #2 (+|*?) %s \\n"""


def test_a_study_in_folders_with_odd_names_runs_and_no_part_of_a_name_is_executed(tmp_path):
    folder = tmp_path / f"study {ODD}"
    study.write_ready_series(folder / f"data {ODD}", n_participants=6)
    config = study.ready_series_config(folder / f"data {ODD}")
    config["results"] = f"results {ODD}"
    synthetic = {"n_participants": 4, "n_volumes": 40, "voxel_size": 8.0}
    config["datasets"]["made"] = {"kind": "bids", "role": "external", "path": f"-demo {ODD}"}
    config["datasets"]["made"]["synthetic"] = synthetic
    file = folder / f"{ODD}.yaml"
    file.write_text(yaml.safe_dump(config))
    targets = (
        f"{config['results']}/connectivity/ready/0.parquet",
        f"{config['results']}/scans/made.parquet",
    )
    options = ("--configfile", str(file), "--rerun-incomplete")
    done = study.snakemake(folder, "--cores", "1", *options, "--", *targets)
    assert done.returncode == 0, done.stderr[-4000:]
    assert all((folder / target).is_file() for target in targets)
    assert (folder / f"-demo {ODD}" / "participants.tsv").is_file()
    assert not list(tmp_path.rglob("run"))
    again = study.snakemake(folder, "--cores", "1", "--dry-run", *options, "--", *targets)
    assert "Nothing to be done" in again.stdout + again.stderr, again.stdout[-3000:]


def test_a_key_that_is_written_twice_is_refused_before_any_job(tmp_path):
    study.write_ready_series(tmp_path / "data", n_participants=4)
    study.write_config(tmp_path, study.ready_series_config(tmp_path / "data"))
    file = tmp_path / "config.yaml"
    file.write_text(f"seed: 1\nseed: 2\n{file.read_text()}")
    done = study.snakemake(tmp_path, "--dry-run", "--cores", "1", "--configfile", str(file))
    assert done.returncode != 0
    assert "'seed' stands twice" in done.stdout + done.stderr
