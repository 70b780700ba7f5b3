import base64

import pytest
from synthetic_study import write_model

from brainmass_core.pipeline.paths import MAPS
from brainmass_core.report import run
from brainmass_core.report.interpretation import read_interpretation
from brainmass_core.tables import MAPS as MAP_TABLE
from brainmass_core.tables import NETWORKS, REGIONS, STABILITY, from_rows, write_table

pytestmark = pytest.mark.study


def test_without_the_stage_the_page_says_which_command_makes_it(pages):
    assert "snakemake --cores all interpret" in pages["demo_task"]
    assert 'id="figure-interpret_attention"' not in pages["demo_task"]


def test_the_page_shows_the_figures_regions_and_warnings_of_the_results(own_study, no_figures):
    from brainmass_core.interpret import run as interpret

    study = own_study
    write_model(study)
    fast = {"n_repeats": 1, "n_steps": 2, "max_scans": 6, "methods": ["gradient", "fc_pattern"]}
    settings = study.config.interpret.model_copy(update=fast)
    config = study.config.model_copy(update={"interpret": settings})
    interpret(config, "demo_task")
    run(config, "demo_task")
    text = study.paths.report("demo_task").read_text()
    found = read_interpretation(config, "demo_task")
    assert len(found.regions) == 2 * 10
    missing = {p.name.removeprefix("interpret_") for p in found.pictures if p.missing}
    assert missing == {"attention", "surface"}
    for name in MAPS:
        png = study.paths.interpret("demo_task", f"{name}.png").read_bytes()
        assert (base64.b64encode(png).decode() in text) == (name not in missing)
    # six scans per fold are few: a sentence with the reason warns of the gradients
    assert any("integrated gradients: not stable: " in w for w in found.warnings)
    assert "participants explained in a class, fewer than 10" in text
    for row in found.regions:
        assert row["Region"] in text


def test_of_one_fold_stability_is_not_known_rather_than_absent(own_study):
    folder = {
        "task": "demo_task",
        "method": "fc_pattern",
        "reason": "one fold",
        "stable": False,
    }
    rows = {
        "stability": [folder | {"n_folds": 1, "n_scans": 9, "top_k": 1, "auc": 0.69}],
        "regions": [folder | {"rank": 1, "name": "a", "network": "", "frequency": 1.0}],
        "networks": [],
        "maps": [],
    }
    schemas = {"stability": STABILITY, "regions": REGIONS, "networks": NETWORKS, "maps": MAP_TABLE}
    for name, schema in schemas.items():
        path = own_study.paths.interpret("demo_task", f"{name}.parquet")
        write_table(path, from_rows(rows[name], schema), name, "hash")
    found = read_interpretation(own_study.config, "demo_task")
    assert found.warnings == ["FC, pattern of the linear SVM: stability is not known: one fold."]
    assert found.stability[0]["Stable"] == found.regions[0]["Stable"] == "not known"
    assert found.stability[0]["AUC of the explained model"].text == "0.69"
    assert found.stability[0]["AUC of the explained model"].interval == ""
