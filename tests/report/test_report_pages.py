import base64
import re
import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import pytest
from synthetic_study import write_study

from brainmass_core.pipeline.manifest import read_manifest, write_manifest
from brainmass_core.pipeline.paths import FIGURES, Paths
from brainmass_core.report import run
from brainmass_core.report.participants import describe_datasets
from brainmass_core.report.stage import index_page, task_page
from brainmass_core.tables import TableError

pytestmark = pytest.mark.study


@pytest.mark.parametrize("page", ["demo_task", "index"])
def test_a_page_needs_nothing_outside_itself(pages, page):
    sources = re.findall(r'(?:src|href)="([^"]*)"', pages[page])
    allowed = ("data:image/png;base64,", "index.html", "demo_task.html", "#", "../quality/demo/")
    assert sources
    assert all(s.startswith(allowed) for s in sources)
    assert "http://" not in pages[page]
    assert "https://" not in pages[page]
    assert not re.findall(r"@import|url\(|<link|<iframe", pages[page])


def test_the_page_embeds_the_very_figures_that_are_files(study, pages):
    embedded = {
        base64.b64decode(m)
        for m in re.findall(r"data:image/png;base64,([^\"]+)", pages["demo_task"])
    }
    files = {n: Paths(study.config.results).figure("demo_task", n).read_bytes() for n in FIGURES}
    elsewhere = {"predicted", "few_shot"}  # of regressions, and if they are requested
    assert embedded == {png for n, png in files.items() if n not in elsewhere}
    assert all(b"Software" not in png and b"tIME" not in png for png in files.values())


def test_the_same_results_give_the_same_bytes_whatever_the_matplotlib_settings(study, pages):
    files = [Paths(study.config.results).figure("demo_task", n) for n in FIGURES]
    before = [f.read_bytes() for f in files]
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "figure.dpi": 33}):
        run(study.config, "demo_task")
        run(study.config, "index")
    assert [f.read_bytes() for f in files] == before
    assert study.paths.report("demo_task").read_text() == pages["demo_task"]
    assert study.paths.report("index").read_text() == pages["index"]


@pytest.mark.parametrize("page", ["demo_task", "index"])
def test_a_page_names_who_is_missing_and_why(pages, page):
    text = pages[page]
    assert "demo_s00_run-0" in text
    assert "/data/s00.npy: file is truncated" in text
    assert "1 of 20 parcels are constant" in text
    assert "ghost-1" in text
    assert "have no outcome" not in text


@pytest.mark.parametrize("make", [index_page, lambda config: task_page(config, "demo_task")])
def test_a_data_set_that_is_refused_for_its_failures_is_named_in_red(own_study, no_figures, make):
    assert "alarm" not in make(own_study.config).split("</style>")[1]
    for batch in range(2):
        path = own_study.paths.manifest("timeseries", "demo", batch)
        failed = [replace(e, status="failed", reason="no T1w") for e in read_manifest(path)]
        write_manifest(path, failed, "hash")
    page = make(own_study.config).split("</style>")[1]
    assert re.search(r'class="warning alarm">demo: 59 of 59 scans failed in timeseries', page)
    assert re.search(r'class="number alarm">59</td>', page)


def test_a_refused_data_set_is_not_counted_as_seen_by_pre_training(own_study):
    (before,) = describe_datasets(own_study.config)
    assert before["seen by pre-training"] > 0
    for batch in range(2):
        path = own_study.paths.manifest("timeseries", "demo", batch)
        write_manifest(path, [replace(e, status="failed") for e in read_manifest(path)], "hash")
    (after,) = describe_datasets(own_study.config)
    assert after == before | {"seen by pre-training": 0}


def test_the_front_page_shows_the_fc_of_every_data_set(pages):
    assert 'id="figure-fc_matrix_demo"' in pages["index"]


def test_the_task_page_names_what_the_task_left_out(pages):
    assert "no value in column &#39;dx&#39;" in pages["demo_task"]
    assert "label 9 is in no class of the task" in pages["demo_task"]


def test_a_small_sample_is_warned_of(pages):
    assert "Small sample: 33 participants are tested, 16 in the smaller class" in pages["demo_task"]


def test_text_of_users_is_escaped(tmp_path, no_figures):
    from brainmass_core.finetune import run as finetune

    label = "<script>alert(1)</script>"
    classes = {label: ["1"], "patient": ["2"]}
    study = write_study(tmp_path, methods=("confounds_svm", "fc_svm"), classes=classes)
    finetune(study.config, "demo_task")
    page = task_page(study.config, "demo_task")
    assert label not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_synthetic_data_and_the_approximate_atlas_carry_a_banner(study):
    from brainmass_core.config.inputs import Synthetic
    from brainmass_core.report.stage import _banners

    assert _banners(study.config, ["demo"], approximate=False) == []
    dataset = study.config.datasets["demo"].model_copy(update={"synthetic": Synthetic()})
    config = study.config.model_copy(update={"datasets": {"demo": dataset}})
    synthetic, atlas = _banners(config, ["demo"], approximate=True)
    assert "Synthetic data: demo" in synthetic
    assert "Schaefer2018-100-voronoi" in atlas


def test_scans_without_an_outcome_are_said_to_be_missing(own_study, no_figures):
    own_study.paths.manifest("connectivity", "demo", 1).unlink()
    text = index_page(own_study.config)
    assert re.search(r"\d+ scans entered a stage but have no outcome", text)


def test_a_missing_result_says_which_command_makes_it(tmp_path):
    study = write_study(tmp_path)
    with pytest.raises(TableError, match="run: snakemake"):
        run(study.config, "demo_task")


def test_the_report_needs_no_torch(study):
    code = (
        "import sys; from brainmass_core.report import stage; "
        "sys.exit('torch' in sys.modules or 'brainmass_core.models' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
