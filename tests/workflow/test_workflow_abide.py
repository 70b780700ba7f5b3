"""ABIDE, 460 participants with published labels: scans to report in one command."""

import sys

import pyarrow.parquet as pq
import pytest
import study
import yaml

sys.path.insert(0, str(study.ROOT / "benchmarks"))

import abide as declared

# one worker builds the study and runs both other protocols in its folder
pytestmark = [
    pytest.mark.slow,
    pytest.mark.shared,
]


# benchmarks/abide_evaluation.py has all baselines
METHODS = ("chance", "confounds_svm", "fc_svm", "untrained_svm", "brainmass_svm")


def abide_config(shared) -> dict:
    settings = declared.settings(shared)
    settings["datasets"]["abide"]["batches"] = 2
    return settings | {
        "quality": {"pages": "flagged"},  # a page of every scan is 8 minutes of CPU
        # what a model learns here is asserted nowhere, so it learns as little as possible
        "pfc": {"n_views": 2},
        "pretrain": {
            "size": "tiny",
            "epochs": 1,
            "batch_size": 32,
            "n_masked_classification": 4,
            "n_masked_reconstruction": 2,
        },
        "finetune": {
            "methods": list(METHODS),
            "n_bootstrap": 500,
        },
        # gradients and attention take minutes more, and 200 regions exchanged in 160 scans would be
        # 32,000 passes of the encoder
        "interpret": {"methods": ["fc_pattern"], "n_repeats": 1},
        "tasks": {"abide1": declared.task(n_splits=5, n_repeats=1)},
    }


def metrics_of(folder, task="abide1") -> dict[str, dict]:
    table = pq.ParquetFile(folder / f"results/finetune/{task}/metrics.parquet").read()
    return {row["method"]: row for row in table.to_pylist()}


@pytest.fixture(scope="module")
def abide(shared_data, tmp_path_factory):
    """The finished study."""
    folder = tmp_path_factory.mktemp("abide")
    study.write_config(folder, abide_config(shared_data))
    study.succeed(folder)
    return folder


def other_task(abide, name: str, task: dict, **finetune: object) -> str:
    """Score another task of the finished study and return what was printed."""
    config = yaml.safe_load((abide / "config.yaml").read_text())
    config["tasks"][name] = task
    config["finetune"] |= finetune
    (abide / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    target = f"results/finetune/{name}/metrics.parquet"
    return study.succeed(abide, target, "--configfile", f"{name}.yaml")


def test_fc_svm_scores_as_the_field_reports(abide):
    row = metrics_of(abide)["fc_svm"]
    assert 0.68 <= row["auc"] <= 0.80
    assert row["auc_low"] < row["auc"] < row["auc_high"]


def test_the_three_participants_with_constant_parcels_are_counted(abide):
    tables = [
        pq.ParquetFile(f).read().to_pylist()
        for f in (abide / "results/manifest/timeseries/abide").glob("*.parquet")
    ]
    rows = [row for table in tables for row in table]
    assert len(rows) == 460
    excluded = [row for row in rows if row["status"] == "excluded"]
    assert len(excluded) == 3
    assert all("parcel" in row["reason"] for row in excluded)
    page = (abide / "results/report/abide1.html").read_text()
    assert all(row["scan_id"] in page for row in excluded)


def test_sites_left_out_are_told_by_the_others(abide):
    task = declared.task(kind="leave_one_site_out")
    printed = other_task(abide, "abide1_loso", task, methods=["confounds_svm", "fc_svm"])
    assert "rule pretrain:" not in printed, "what stages share is kept"
    file = abide / "results/finetune/abide1_loso/predictions.parquet"
    table = pq.ParquetFile(file).read().to_pandas()
    table = table[table["method"] == "fc_svm"]
    assert (table.groupby("fold")["site"].nunique() == 1).all()
    assert (table.groupby("site")["fold"].nunique() == 1).all(), "a site is tested once"
    cohort = pq.ParquetFile(file.with_name("cohort.parquet")).read().to_pandas()
    elsewhere = cohort["used"].sum() - cohort[cohort["used"]].groupby("site").size()
    assert (table["n_train"] == table["site"].map(elsewhere)).all(), (
        "nobody of the site is trained on"
    )
    assert table["fold"].nunique() >= 4
    row = metrics_of(abide, "abide1_loso")["fc_svm"]
    assert row["auc_low"] > 0.5
    assert row["auc"] > metrics_of(abide, "abide1_loso")["confounds_svm"]["auc"]


def test_permuted_labels_score_at_chance(abide):
    task = declared.task(n_splits=5, n_repeats=1)
    printed = other_task(abide, "abide1_permuted", task, permute_labels=True)
    assert "finetune_task:" in printed
    assert "rule pretrain:" not in printed, "another protocol trains no model again"
    found = metrics_of(abide, "abide1_permuted")
    assert set(METHODS) <= set(found)
    for method, row in found.items():
        assert row["auc_low"] <= 0.5 <= row["auc_high"], (method, row)
