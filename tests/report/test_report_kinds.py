"""Pages of tasks that do not have two classes, and of few-shot and zero-shot."""

import pytest

from brainmass_core.pipeline.paths import FIGURES, Paths
from brainmass_core.report import run
from brainmass_core.tables import TableError, read_table

pytestmark = pytest.mark.study


@pytest.mark.parametrize("page", ["demo_task", "index"])
def test_a_regression_has_its_variance_beside_the_error(regression, page):
    html = regression.paths.report(page).read_text()
    table = read_table(regression.paths.finetune("demo_task") / "metrics.parquet", "metrics")
    row = table.to_pandas().set_index("method").loc["fc_ridge"]
    assert "Target variance" in html
    for metric in ("mse", "target_variance"):
        assert f"{row[metric]:.3g}" in html
    assert f"{row['r2']:.2f}" in html
    assert all(regression.paths.figure("demo_task", f).exists() for f in FIGURES)


def test_a_regression_shows_predictions_and_no_roc(regression):
    html = regression.paths.report("demo_task").read_text()
    assert 'id="figure-predicted"' in html
    assert 'id="figure-sites"' in html
    for figure in ("roc", "calibration", "fc_difference", "few_shot"):
        assert f'id="figure-{figure}"' not in html


def test_several_classes_have_calibration_motion_and_sites(several):
    html = several.paths.report("demo_task").read_text()
    for figure in ("calibration", "motion", "sites", "fc_matrix"):
        start = html.index(f'id="figure-{figure}"')
        assert html[start:].split(">", 1)[1].lstrip().startswith("<img")
    assert "control, patient, other" in html
    assert 'id="figure-roc"' not in html


def test_curves_and_transfer_are_on_the_page_when_they_are_asked_for(adapted, pages):
    html = Paths(adapted.results).report("demo_task").read_text()
    for part in ('id="figure-few_shot"', 'id="curves"', 'id="transfer"'):
        assert part in html
        assert part not in pages["demo_task"]
    assert ">0.66 <" in html
    assert "0.50 to 0.80" in html
    assert "site mean" in html
    assert "nearest class mean" in html


def test_curves_that_are_asked_for_and_missing_are_an_error(adapted, study):
    config = study.config.model_copy(update={"few_shot": adapted.few_shot})
    with pytest.raises(TableError, match=r"learning_curve\.parquet: no such table"):
        run(config, "demo_task")
