import pytest
import yaml

from brainmass_core.config import ConfigError, list_presets, parse_config
from brainmass_core.config.load import PRESETS_DIR
from brainmass_core.config.yaml_file import read_yaml

INTERNAL = {"abide1", "adhd", "oas", "mci", "ad", "pd", "pro", "schizo"}
EXTERNAL = {"abide2", "ucla_bp", "ucla_schizo", "ucla_adhd", "xuanwu_pd", "xuanwu_rbd", "pd_ad"}
REGRESSIONS = {"brainlm_age", "brainlm_pcl", "brainlm_gad7", "brainlm_neuroticism"}
ALL = sorted(INTERNAL | EXTERNAL | REGRESSIONS)


def applied(tmp_path, *keys):
    cohorts = [next(iter(read_yaml(PRESETS_DIR / f"tasks/{k}.yaml")["datasets"])) for k in keys]
    given = {c: {"kind": "timeseries", "path": str(tmp_path)} for c in cohorts}
    given["more"] = {"kind": "timeseries", "path": str(tmp_path), "role": "pretrain"}
    return parse_config({"presets": [f"tasks/{k}" for k in keys], "datasets": given})


def test_the_catalogue_holds_the_tasks_of_both_papers():
    assert {n.removeprefix("tasks/") for n in list_presets() if n.startswith("tasks/")} == set(ALL)


@pytest.mark.parametrize("key", ALL)
def test_a_catalogue_entry_needs_only_kind_and_path_of_the_data(tmp_path, key):
    config = applied(tmp_path, key)
    task, dataset = config.tasks[key], next(iter(config.datasets.values()))
    assert dataset.role == ("external" if key in EXTERNAL else "internal")
    assert task.kind == ("regression" if key in REGRESSIONS else "classification")
    assert dataset.stratify_by in (None, task.label)
    assert dataset.phenotype.id_column
    with pytest.raises(ConfigError, match="path: "):
        parse_config({"presets": [f"tasks/{key}"]})


@pytest.mark.parametrize("key", ALL)
def test_a_catalogue_entry_says_what_is_uncertain(key):
    text = (PRESETS_DIR / f"tasks/{key}.yaml").read_text()
    assert "# Check against your copy: " in text
    assert yaml.safe_load(text)


def test_all_entries_together_are_one_configuration(tmp_path):
    config = applied(tmp_path, *ALL)
    assert set(config.tasks) == set(ALL)
    assert config.tasks["ucla_bp"].datasets == config.tasks["ucla_adhd"].datasets == ["ucla"]


def test_what_the_user_writes_wins_over_the_catalogue(tmp_path):
    raw = {
        "presets": ["tasks/abide1"],
        "datasets": {"abide1": {"kind": "timeseries", "path": str(tmp_path)}},
        "tasks": {"abide1": {"confounds": "combat", "protocol": {"kind": "leave_one_site_out"}}},
    }
    task = parse_config(raw).tasks["abide1"]
    assert task.confounds == "combat"
    assert task.protocol.kind == "leave_one_site_out"
    assert task.classes == {"control": ["2"], "autism": ["1"]}
