import shutil

import pytest
import yaml

from brainmass_core.config import dump_config
from brainmass_core.pipeline.paths import Paths
from brainmass_core.report.compare import _axis, ablations, differing, read_variants
from brainmass_core.report.stage import index_page
from brainmass_core.tables import TableError


@pytest.fixture(scope="module")
def ablated(study, tmp_path_factory):
    """The study, and a copy of its scores with another drop rate."""
    other = tmp_path_factory.mktemp("ablation") / "less"
    task = Paths(other).finetune("demo_task")
    task.mkdir(parents=True)
    shutil.copy(study.paths.finetune("demo_task") / "metrics.parquet", task)
    pfc = study.config.pfc.model_copy(update={"drop_rate": 0.1})
    changed = study.config.model_copy(update={"pfc": pfc, "results": other})
    (other / "config.yaml").write_text(dump_config(changed))
    report = study.config.report.model_copy(update={"compare": [other]})
    return study.config.model_copy(update={"report": report})


def test_only_settings_that_differ_are_named_and_no_places():
    first = {"results": "a", "pfc": {"drop_rate": 0.1, "n_views": 8}, "report": {"title": "x"}}
    second = {"results": "b", "pfc": {"drop_rate": 0.2, "n_views": 8}, "seed": 1}
    assert differing([first, second]) == [
        {"pfc.drop_rate": 0.1, "seed": None},
        {"pfc.drop_rate": 0.2, "seed": 1},
    ]


@pytest.mark.study
def test_one_number_that_differs_is_the_axis(ablated):
    variants = read_variants(ablated, "demo_task")
    assert [v.knobs for v in variants] == [{"pfc.drop_rate": 0.2}, {"pfc.drop_rate": 0.1}]
    assert _axis(variants) == ("pfc.drop_rate", [0.2, 0.1], ["0.2", "0.1"])


@pytest.mark.study
def test_the_front_page_shows_the_other_folder(ablated, study, no_figures):
    html = index_page(ablated)
    assert 'id="ablation-demo_task"' in html
    assert "AUC with 95 % intervals over participants, by pfc.drop_rate" in html
    assert ">less<" in html
    assert ablations(study.config) == []


@pytest.mark.study
def test_a_folder_without_a_finished_run_is_refused(ablated, tmp_path):
    report = ablated.report.model_copy(update={"compare": [tmp_path]})
    with pytest.raises(TableError, match=r"config\.yaml: no such file.*report\.compare"):
        ablations(ablated.model_copy(update={"report": report}))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"seed": 1}))
    with pytest.raises(TableError, match=r"metrics\.parquet: no such table"):
        ablations(ablated.model_copy(update={"report": report}))
