"""What a user can type, and what is refused before any job starts."""

import re

import pytest
import study
import yaml

from brainmass_core.pipeline.stages import STAGES

pytestmark = pytest.mark.study


def planned(done) -> set[str]:
    """Rules of a dry run's job table."""
    lines = done.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Job stats"))
    rows = [line.split() for line in lines[start + 3 :]]
    return {r[0] for r in rows[: next(i for i, r in enumerate(rows) if not r)]} - {"total"}


@pytest.fixture(scope="module")
def folder(ready_series, tmp_path_factory):
    folder = tmp_path_factory.mktemp("targets")
    study.write_config(folder, study.ready_series_config(ready_series))
    return folder


def needs(rulegraph: str) -> dict[str, set[str]]:
    """Rules of a graph in the language of Graphviz, and the rules that each needs, near or far."""
    name = dict(re.findall(r'^\s*(\d+)\[label = "(\w+)"', rulegraph, re.MULTILINE))
    direct: dict[str, set[str]] = {rule: set() for rule in name.values()}
    for source, target in re.findall(r"^\s*(\d+) -> (\d+)", rulegraph, re.MULTILINE):
        direct[name[target]].add(name[source])

    def below(rule: str) -> set[str]:
        return direct[rule].union(*map(below, direct[rule]))

    return {rule: below(rule) for rule in direct}


def test_every_stage_and_every_task_is_a_target(folder):
    targets = (*STAGES, "diagnosis", "all")
    done = study.snakemake(folder, "--rulegraph", "dot", *targets)
    assert done.returncode == 0, done.stderr
    found = needs(done.stdout)
    assert set(targets) <= set(found)
    # ready series are not preprocessed, and no series are analysed unless asked for
    idle = {"preprocess", "series_model"}
    assert {t for t in targets if "scans_of_dataset" not in found[t]} == idle


def test_a_stage_target_plans_nothing_beyond_its_stage(folder):
    jobs = planned(study.snakemake(folder, "--dry-run", "--cores", "1", "connectivity"))
    assert jobs == {"scans_of_dataset", "timeseries_batch", "connectivity_batch", "connectivity"}


def test_a_task_target_makes_its_page(folder):
    done = study.snakemake(folder, "--dry-run", "--cores", "1", "diagnosis")
    assert "report/diagnosis.html" in done.stdout
    assert "report/index.html" not in done.stdout


def groups(folder, *arguments: str) -> list[set[tuple[str, str]]]:
    """Rule and batch of the jobs of each group, in a dry run."""
    done = study.snakemake(folder, "--dry-run", "--cores", "all", *arguments)
    assert done.returncode == 0, done.stderr
    found = []
    for text in re.findall(r"^\[.*\] Group job .*\n((?:(?: .*)?\n)+)", done.stdout, re.MULTILINE):
        rules = re.findall(r"^ +rule (\w+):", text, re.MULTILINE)
        batches = re.findall(r"wildcards: dataset=ready, batch=(\d+)", text)
        found.append(set(zip(rules, batches, strict=True)))
    return sorted(found, key=sorted)


def test_on_slurm_the_quick_stages_of_a_batch_are_one_job_and_locally_none_is_grouped(folder):
    profile = ("--profile", str(study.ROOT / "slurm"))
    rules = ("connectivity_batch", "pfc_batch", "timeseries_batch")
    assert groups(folder, *profile, "all") == [{(r, batch) for r in rules} for batch in "01"]
    alone = groups(folder, *profile, "timeseries")
    assert alone == [{("timeseries_batch", batch)} for batch in "01"]
    assert groups(folder, "all") == []


def test_a_bad_config_is_refused_with_all_errors_before_the_dag(folder, tmp_path):
    raw = yaml.safe_load((folder / "config.yaml").read_text())
    raw["pfc"] = {"drop_rate": -0.2}
    raw["reprot"] = {}
    raw["datasets"]["ready"]["path"] = "/no/such/folder"
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(raw))
    done = study.snakemake(folder, "--dry-run", "--configfile", str(tmp_path / "bad.yaml"))
    assert done.returncode != 0
    printed = done.stdout + done.stderr
    assert "3 errors" in printed
    assert "/no/such/folder does not exist" in printed
    assert "found -0.2: input should be greater than 0" in printed
    assert "did you mean 'report'" in printed
    assert "Building DAG" not in printed


def test_spaces_in_the_names_of_folders_reach_every_command(ready_series, tmp_path):
    data = tmp_path / "my data"
    data.symlink_to(ready_series)
    file = tmp_path / "my study.yaml"
    study.write_config(tmp_path, study.ready_series_config(data) | {"results": "my results"})
    (tmp_path / "config.yaml").rename(file)
    table = "my results/scans/ready.parquet"
    done = study.snakemake(tmp_path, "--cores", "1", f"--configfile={file}", "--", table)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / table).is_file()
