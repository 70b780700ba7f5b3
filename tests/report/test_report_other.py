from synthetic_study import write_study

from brainmass_core.finetune import run as finetune
from brainmass_core.paths import FIGURES
from brainmass_core.report import run
from brainmass_core.tables import read_table


def test_a_regression_has_a_page_with_its_variance_beside_the_error(tmp_path):
    study = write_study(tmp_path, methods=("chance", "fc_ridge"), kind="regression", classes={})
    finetune(study.config, "demo_task")
    for page in ("demo_task", "index"):
        run(study.config, page)
        html = study.paths.report(page).read_text()
        table = read_table(study.paths.finetune("demo_task") / "metrics.parquet", "metrics")
        row = table.to_pandas().set_index("method").loc["fc_ridge"]
        assert "Target variance" in html
        for metric in ("mse", "target_variance", "r2"):
            assert f"{row[metric]:.3g}" in html
    assert all(study.paths.figure("demo_task", f).exists() for f in FIGURES)
