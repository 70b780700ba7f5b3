"""Folders may be called what people call them; a shell sees one word and runs nothing of it."""

import pytest
import study
import yaml

pytestmark = pytest.mark.slow

ODD = """it's "my" $(touch run) `touch run`; é ü [1] & #2 (+|*?) %s \\n"""


@pytest.mark.nightly
def test_a_study_in_folders_with_odd_names_runs_and_no_part_of_a_name_is_executed(tmp_path):
    folder = tmp_path / f"study {ODD}"
    study.write_ready_series(folder / f"data {ODD}", n_participants=6)
    ready = study.ready_series_config(folder / f"data {ODD}")
    made = {"datasets": {"made": {"kind": "bids", "role": "internal", "path": f"-demo {ODD}"}}}
    size = {"n_participants": 4, "n_volumes": 40, "voxel_size": 8.0}
    made["datasets"]["made"]["synthetic"] = size
    run(folder, ready, f"results {ODD}", "connectivity/ready/0.parquet")
    run(folder, made, f"-made {ODD}", "scans/made.parquet")
    assert (folder / f"-demo {ODD}" / "participants.tsv").is_file()
    assert not list(tmp_path.rglob("run"))


def run(folder, config, results, table):
    """Make a table, and see that there is nothing to be done afterwards."""
    file = folder / f"{results} {ODD}.yaml"
    file.write_text(yaml.safe_dump(config | {"results": results}))
    options = ("--cores", "1", f"--configfile={file}", "--", f"{results}/{table}")
    done = study.snakemake(folder, *options)
    assert done.returncode == 0, done.stderr[-4000:]
    assert (folder / results / table).is_file()
    again = study.snakemake(folder, "--dry-run", *options)
    assert "Nothing to be done" in again.stdout + again.stderr, again.stdout[-3000:]


def test_a_key_that_is_written_twice_is_refused_before_any_job(tmp_path):
    study.write_ready_series(tmp_path / "data", n_participants=4)
    study.write_config(tmp_path, study.ready_series_config(tmp_path / "data"))
    file = tmp_path / "config.yaml"
    file.write_text(f"seed: 1\nseed: 2\n{file.read_text()}")
    done = study.snakemake(tmp_path, "--dry-run", "--cores", "1", "--configfile", str(file))
    assert done.returncode != 0
    assert "'seed' occurs twice" in done.stdout + done.stderr
