"""ABIDE, 460 participants with published labels: scans to report in one command."""

import sys

import pyarrow.parquet as pq
import pytest
import study
import yaml

sys.path.insert(0, str(study.ROOT / "benchmarks"))

import abide as declared

# an epoch of a small model over 200 ROIs takes minutes, more beside other work
pytestmark = [pytest.mark.slow, pytest.mark.shared, pytest.mark.timeout(3000)]


def abide_config(shared) -> dict:
    return declared.settings(shared) | {
        "quality": {"pages": "flagged"},  # a page of every scan is 8 minutes of CPU
        "pretrain": {"size": "tiny", "epochs": 1, "batch_size": 32},
        # the tangent space is 5 minutes; benchmarks/abide_evaluation.py has all baselines
        "finetune": {
            "methods": ["chance", "confounds_svm", "fc_svm", "untrained_svm", "brainmass_svm"]
        },
        # 200 regions exchanged in 160 scans would be 32,000 passes of the encoder
        "interpret": {"methods": ["attention", "gradient", "fc_pattern"], "n_repeats": 1},
        "tasks": {"abide1": declared.task(n_splits=5, n_repeats=2)},
    }


def metrics_of(folder, task="abide1") -> dict[str, dict]:
    table = pq.ParquetFile(folder / f"results/finetune/{task}/metrics.parquet").read()
    return {row["method"]: row for row in table.to_pylist()}


@pytest.fixture(scope="module")
def abide(shared_data, tmp_path_factory):
    """The finished study, and the same with labels permuted within sites."""
    folder = tmp_path_factory.mktemp("abide")
    study.write_config(folder, abide_config(shared_data))
    done = study.snakemake(folder, "--cores", "2", timeout=3000)
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


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
    config = yaml.safe_load((abide / "config.yaml").read_text())
    config["tasks"]["abide1_loso"] = declared.task(kind="leave_one_site_out")
    config["finetune"] = {"methods": ["confounds_svm", "fc_svm"]}
    (abide / "loso.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    target = "results/finetune/abide1_loso/metrics.parquet"
    done = study.snakemake(abide, "--cores", "2", target, "--configfile", "loso.yaml")
    assert done.returncode == 0, done.stderr[-5000:]
    assert "rule pretrain:" not in done.stdout + done.stderr, "what stages share is kept"
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
    config = yaml.safe_load((abide / "config.yaml").read_text())
    config["finetune"]["permute_labels"] = True
    (abide / "permuted.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    done = study.snakemake(abide, "--cores", "2", "abide1", "--configfile", "permuted.yaml")
    assert done.returncode == 0, done.stderr[-5000:]
    printed = done.stdout + done.stderr
    assert "finetune_task:" in printed
    assert "rule pretrain:" not in printed, "another protocol trains no model again"
    for method, row in metrics_of(abide).items():
        assert row["auc_low"] <= 0.5 <= row["auc_high"], (method, row)
