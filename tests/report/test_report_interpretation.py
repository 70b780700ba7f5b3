import base64

import pytest
from synthetic_study import write_model

from brainmass_core.paths import MAPS
from brainmass_core.report import run
from brainmass_core.report.interpretation import read_interpretation

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
    # six scans per fold are few: the gradients are warned of, in a sentence with the reason
    assert any("integrated gradients: not stable: " in w for w in found.warnings)
    assert "participants explained in a class, fewer than 10" in text
    for row in found.regions:
        assert row["Region"] in text
