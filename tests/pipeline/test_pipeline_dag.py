"""The DAG is known from the configuration alone."""

import os
from pathlib import Path

import pytest

from brainmass_core.config import ConfigError, parse_config
from brainmass_core.pipeline.dag import Study
from brainmass_core.tables import atomic_path


def study(tmp_path: Path, **over) -> Study:
    raw = {
        "results": str(tmp_path / "results"),
        "datasets": {
            "raw": {"kind": "bids", "role": "internal", "path": str(tmp_path), "batches": 3},
            "ready": {"kind": "timeseries", "role": "pretrain", "path": str(tmp_path)},
            "unseen": {"kind": "derivatives", "role": "external", "path": str(tmp_path)},
        },
        "tasks": {
            "dx": {"datasets": ["unseen"], "label": "dx", "classes": {"a": ["0"], "b": ["1"]}}
        },
    } | over
    return Study(parse_config(raw))


def test_only_raw_bids_is_preprocessed(tmp_path):
    assert study(tmp_path).datasets("preprocess") == ["raw"]


def test_external_data_never_reach_the_pfc_shards(tmp_path):
    assert study(tmp_path).datasets("pfc") == ["raw", "ready"]


def test_there_is_one_table_per_batch(tmp_path):
    assert len(study(tmp_path).tables("connectivity")) == 3 + 1 + 1


def test_a_task_reads_its_own_data_sets_and_the_model(tmp_path):
    inputs = study(tmp_path).task_inputs("dx")
    fc = [f for f in inputs if "/connectivity/" in f]
    assert [Path(f).parent.name for f in fc] == ["unseen"]
    assert study(tmp_path).model() in inputs


def test_of_external_data_alone_nothing_waits_for_a_model(tmp_path):
    found = study(
        tmp_path,
        datasets={"unseen": {"kind": "timeseries", "role": "external", "path": str(tmp_path)}},
        finetune={"methods": ["chance", "fc_svm"]},
        interpret={"methods": ["fc_pattern"]},
    )
    asked = [
        *found.task_inputs("dx"),
        *found.report_inputs("dx"),
        *found.report_inputs("index"),
        *found.interpret_inputs("dx"),
        *found.deployed_inputs("dx"),
    ]
    assert not [f for f in asked if "/pretrain/" in f or "/pfc/" in f]
    assert found.datasets("pfc") == found.pretrain_tables() == []
    assert [f for f in asked if "/connectivity/unseen/" in f]


def test_memory_doubles_at_each_retry(tmp_path):
    mem = study(tmp_path, resources={"pfc": {"mem_mb": 700}}).mem_mb("pfc")
    assert [mem(None, attempt) for attempt in (1, 2, 3)] == [700, 1400, 2800]


def test_several_machines_are_launched_through_srun(tmp_path):
    launch = study(tmp_path, pretrain={"nodes": 2}).launch()
    assert launch == {"mpi": "srun", "nodes": 2, "tasks": 2}
    assert study(tmp_path).launch() == {}


def test_a_second_run_on_the_same_results_is_kept_out(tmp_path):
    first = study(tmp_path)
    first.start()
    with pytest.raises(ConfigError, match="another snakemake is at work"):
        study(tmp_path).start()


def test_the_resolved_configuration_is_published_and_valid(tmp_path):
    from brainmass_core.config import load_config

    one = study(tmp_path)
    one.start()
    assert load_config(one.file) == one.config


def test_unwritable_results_are_refused_with_the_remedy(tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match=r"cannot write to .*results.*mend its permissions"):
        study(tmp_path).start()


def test_without_a_configfile_config_yaml_is_read_and_overridden(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no config\.yaml"):
        Study.load({}, [])
    Path("config.yaml").write_text(
        "datasets: {a: {kind: bids, role: internal, path: .}}\nseed: 1\npfc: {n_views: 4}\n"
    )
    config = Study.load({"pfc": {"drop_rate": 0.1}}, []).config
    assert (config.seed, config.pfc.n_views, config.pfc.drop_rate) == (1, 4, 0.1)


def test_a_batch_of_quality_reads_what_judged_it_and_no_other_batch(tmp_path):
    inputs = study(tmp_path).quality_inputs("raw", "1")
    stages = ("preprocess", "timeseries", "connectivity")
    assert all(any(f"/results/{s}/raw/1.parquet" in f for f in inputs) for s in stages)
    assert all(any(f"/manifest/{s}/raw/1.parquet" in f for f in inputs) for s in stages)
    assert not any(f.endswith(("/0.parquet", "/2.parquet")) for f in inputs)
    assert not any("/preprocess/" in f for f in study(tmp_path).quality_inputs("ready", "0"))


def test_the_front_page_waits_for_the_cohort_page_of_every_data_set(tmp_path):
    pages = study(tmp_path).quality_pages()
    assert len(pages) == 3
    assert set(pages) <= set(study(tmp_path).report_inputs("index"))
    assert not set(pages) & set(study(tmp_path).report_inputs("dx"))


def test_few_shot_and_zero_shot_are_made_only_if_asked_for(tmp_path):
    plain = study(tmp_path)
    assert plain.all_task_results("dx") == plain.task_results("dx")
    asked = study(tmp_path, few_shot={"shots": [1, 2]})
    names = [Path(f).name for f in asked.report_inputs("dx")]
    assert {"few_shot.parquet", "learning_curve.parquet"} < set(names)
    assert "zero_shot.parquet" not in names


def test_zero_shot_reads_the_fc_of_its_source_and_the_scans_of_pre_training(tmp_path):
    task = {"datasets": ["unseen"], "label": "dx", "classes": {"a": ["0"], "b": ["1"]}}
    other = study(tmp_path, tasks={"dx": task | {"zero_shot_from": ["raw"]}})
    inputs = other.zero_shot_inputs("dx")
    assert set(other.tables("connectivity", ["raw", "unseen"])) < set(inputs)
    assert set(other.scans_tables(["raw", "ready", "unseen"])) < set(inputs)
    assert set(other.zero_shot_results("dx")) < set(other.all_task_results("dx"))


def test_the_model_of_a_task_is_made_unless_it_is_not_wanted_and_no_page_waits_for_it(tmp_path):
    asked = study(tmp_path)
    names = [Path(f).name for f in asked.deployed("dx")]
    assert names == ["contract.json", "estimator.json", "model.safetensors", "README.md"]
    assert set(asked.task_results("dx")) < set(asked.deployed_inputs("dx"))
    assert not set(asked.deployed("dx")) & set(asked.report_inputs("dx"))
    assert study(tmp_path, finetune={"deploy": None}).deployed("dx") == []


def test_what_is_deployed_changes_the_model_and_no_score(tmp_path):
    one, other = study(tmp_path), study(tmp_path, finetune={"deploy": "brainmass_svm"})
    assert one.hash("finetune", "dx") == other.hash("finetune", "dx")
    assert one.hash("model", "dx") != other.hash("model", "dx")


def test_the_front_page_reads_the_scores_of_the_folders_it_compares(tmp_path):
    other = study(tmp_path, report={"compare": [str(tmp_path / "less")]})
    needed = {str(tmp_path / "less" / f) for f in ("config.yaml", "finetune/dx/metrics.parquet")}
    assert needed <= set(other.report_inputs("index"))
    assert not needed & set(other.report_inputs("dx"))


@pytest.mark.parametrize(
    "name",
    [
        "scans/d.inputs.json",
        "report/index.html",
        "work/pretrain/brainmass/h/f/step-1.pt",
        "timeseries/ready/derivatives/atlas-a_dseg.tsv",
    ],
)
def test_a_run_removes_temporary_files_of_killed_jobs_but_not_of_running_ones(tmp_path, name):
    target = tmp_path / "results" / name
    with atomic_path(target) as running:
        killed = running.with_name(running.name.replace(f"-{os.getpid()}.", f"-{2**22 + 1}."))
        killed.touch()
        study(tmp_path).start()
        assert running.exists()
        assert not killed.exists()
