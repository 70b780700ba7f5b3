import importlib

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic_study import make_config

from brainmass_core.drawing import NotAvailableError, draw
from brainmass_core.pipeline.paths import FIGURES
from brainmass_core.report import cohort as people
from brainmass_core.report import participants
from brainmass_core.report.connectome import dataset_connectome, parcels, read_connectome
from brainmass_core.report.figures import glass_brain, loss
from brainmass_core.report.pictures import draw_task, loss_caption
from brainmass_core.report.results import read_results
from brainmass_core.report.scores import score_table, verdict, warnings_of
from brainmass_core.tables import BRAINLM_HISTORY, from_rows, read_table


def read(study, name) -> pd.DataFrame:
    folder = study.paths.finetune("demo_task")
    return read_table(folder / f"{name}.parquet", name).to_pandas()


@pytest.mark.study
def test_every_stage_accounts_for_the_scans_that_entered_it(study):
    rows = people.stage_flow(study.config, ["demo"]) + people.task_flow(read(study, "cohort"))
    for row in rows:
        assert row["In"] == row["Ok"] + row["Failed"] + row["Excluded"]
        assert row["Missing"] == 0
    flow = {r["Stage"]: r for r in rows}
    assert list(flow) == ["scans", "timeseries", "connectivity", "pfc", "finetune"]
    assert flow["scans"]["In"] == 60
    assert flow["timeseries"]["In"] == flow["scans"]["Ok"]
    assert flow["connectivity"]["In"] == flow["timeseries"]["Ok"]
    assert flow["finetune"]["In"] == flow["connectivity"]["Ok"]
    seen = study.scans[study.scans["split"] != "test"]
    assert flow["pfc"]["In"] == len(seen) - 1, "s00 is in split train and excluded"


@pytest.mark.study
def test_every_scan_is_used_or_listed_with_its_reason(study):
    cohort = read(study, "cohort")
    listed = pd.concat([people.exclusions(study.config, ["demo"]), people.task_exclusions(cohort)])
    lost = set(listed["Scan"])
    assert lost | set(cohort.loc[cohort["used"], "scan_id"]) == set(study.scans["scan_id"])
    assert not lost & set(cohort.loc[cohort["used"], "scan_id"])
    assert (listed["Why"] != "").all()
    assert sum(row["Scans"] for row in people.count_reasons(listed)) == len(listed)


@pytest.mark.study
def test_entries_of_batches_that_are_no_longer_configured_do_not_count(study):
    dataset = study.config.datasets["demo"].model_copy(update={"batches": 1})
    config = study.config.model_copy(update={"datasets": {"demo": dataset}})
    assert set(people.read_entries(config, ["demo"])["batch"]) == {0}
    assert set(people.read_entries(study.config, ["demo"])["batch"]) == {0, 1}


@pytest.mark.study
def test_people_of_the_classes_add_up(study):
    control, patient, both = participants.summarise_cohort(
        read(study, "cohort"), ["control", "patient"]
    )
    for column in ("Participants", "Scans", "kept for evaluation", "training only"):
        assert control[column] + patient[column] == both[column]
    assert both["Participants"] == both["kept for evaluation"] + both["training only"]
    sites = participants.count_sites(read(study, "cohort"), ["control", "patient"])
    assert sum(s["control"] for s in sites) == control["Participants"]


@pytest.mark.study
def test_scores_on_the_page_are_those_of_the_table(study):
    metrics = read(study, "metrics")
    for row, shown in zip(metrics.to_dict("records"), score_table(metrics), strict=True):
        assert shown["AUC"].text == f"{row['auc']:.2f}"
        assert shown["AUC"].interval == f"{row['auc_low']:.2f} to {row['auc_high']:.2f}"
        assert shown["Sensitivity"].text == f"{row['sensitivity']:.2f}"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.02, 0.1, "better than"),
        (-0.2, -0.1, "worse than"),
        (-0.1, 0.1, "not distinguishable from"),
    ],
)
def test_the_verdict_follows_the_interval_of_the_difference(low, high, said):
    base = dict.fromkeys(["auc", "auc_low", "auc_high"], 0.7)
    gain = {"auc_minus_fc_svm": (low + high) / 2}
    gain |= {"auc_minus_fc_svm_low": low, "auc_minus_fc_svm_high": high}
    rows = [{"method": "fc_svm", **base}, {"method": "brainmass_svm", **base, **gain}]
    assert f"the model is {said} the baseline" in verdict(pd.DataFrame(rows))[0]


def test_permuted_labels_and_few_participants_are_warned_of():
    few = pd.DataFrame([{"n_participants": 60, "n_positive": 20}])
    many = pd.DataFrame([{"n_participants": 600, "n_positive": 300}])
    assert warnings_of(many, permuted=False) == []
    assert "shuffled" in warnings_of(many, permuted=True)[0]
    assert "20 in the smaller class" in warnings_of(few, permuted=False)[0]


@pytest.mark.study
def test_mean_fc_streamed_over_batches_is_the_mean(study):
    from brainmass_core.finetune.cohort.dataset import assemble

    connectome = read_connectome(study.config, read(study, "cohort"))
    data = assemble(study.config, "demo_task")
    upper = np.triu_indices(20, 1)
    patient = data.scans["y"].to_numpy() == 1
    np.testing.assert_allclose(connectome.mean[upper], data.fc.mean(0), atol=1e-6)
    expected = data.fc[patient].mean(0) - data.fc[~patient].mean(0)
    np.testing.assert_allclose(connectome.difference[upper], expected, atol=1e-6)
    assert connectome.n_scans == len(data.fc)


@pytest.mark.study
def test_mean_fc_of_a_data_set_is_that_of_all_its_scans(study):
    connectome = dataset_connectome(study.config, "demo")
    files = sorted((study.config.results / "connectivity" / "demo").glob("*.parquet"))
    fc = np.concatenate([read_table(f, "connectivity").to_pandas()["fc"].tolist() for f in files])
    np.testing.assert_allclose(connectome.mean[np.triu_indices(20, 1)], fc.mean(0), atol=1e-6)
    assert connectome.n_scans == len(fc)


@pytest.mark.study
def test_parcels_of_a_network_stand_together(study):
    connectome = read_connectome(study.config, read(study, "cohort"))
    networks = connectome.labels["network"].to_numpy()[connectome.order()]
    assert (networks[1:] != networks[:-1]).sum() == 3
    within, between = connectome.within_and_between()
    assert within > between + 0.2, "the planted networks"


@pytest.mark.study
def test_scans_are_shown_from_the_least_to_the_most_motion(study):
    used = read(study, "cohort").query("used")
    chosen = participants.choose_scans(read(study, "cohort"), 5)
    assert len(chosen) == 5
    assert chosen["mean_fd"].iloc[0] == used["mean_fd"].min()
    assert chosen["mean_fd"].iloc[-1] == used["mean_fd"].max()
    assert chosen["mean_fd"].is_monotonic_increasing
    assert len(participants.choose_scans(read(study, "cohort"), 0)) == 0
    assert len(participants.choose_scans(read(study, "cohort"), 1000)) == len(used)


@pytest.mark.study
def test_without_an_atlas_the_page_says_so_and_every_figure_is_there(own_study):
    study = own_study
    atlas = study.config.atlas.model_copy(update={"labels": None, "n_rois": 20})
    report = study.config.report.model_copy(update={"max_figures": 0})
    config = study.config.model_copy(update={"atlas": atlas, "report": report})
    (study.paths.pretrain("brainmass") / "history.parquet").unlink()
    results = read_results(config, "demo_task")
    connectome = read_connectome(config, results.cohort)
    pictures = draw_task(results, connectome)
    assert tuple(pictures) == FIGURES
    assert all(p.png.startswith(b"\x89PNG") for p in pictures.values())
    assert "no coordinates" in pictures["glass_brain"].missing
    assert "no pre-training history" in pictures["loss"].missing
    assert "max_figures" in pictures["carpet"].missing
    assert not pictures["fc_matrix"].missing
    assert "has no networks" in pictures["fc_matrix"].caption


def test_an_atlas_of_another_size_gives_no_names(tmp_path):
    labels = parcels(make_config(tmp_path), "rings", 30)
    assert len(labels) == 30
    assert labels["name"].iloc[0] == "roi-1"
    assert labels["x"].isna().all()


def test_a_figure_that_cannot_be_drawn_says_why():
    def fail():
        raise NotAvailableError("because")

    png, missing = draw(fail)
    assert missing == "because"
    assert png.startswith(b"\x89PNG")
    assert "no mean FC" in draw(lambda: glass_brain(None))[1]


@pytest.mark.parametrize("module", ["drawing", "quality.embed"])
def test_a_name_with_a_dollar_is_drawn_as_it_is_written(module):
    draw_with = importlib.import_module(f"brainmass_core.{module}")

    def make():
        figure = Figure()
        figure.text(0.5, 0.5, "site $5^{ and $")
        return figure

    getattr(draw_with, "chart" if module == "quality.embed" else "draw")(make)


def test_the_loss_of_a_brainlm_is_drawn_beside_what_it_is_compared_with(tmp_path):
    config = make_config(tmp_path)
    row = dict.fromkeys(BRAINLM_HISTORY.names, 0.5)
    history = from_rows([row | {"step": s, "epoch": 0} for s in range(3)], BRAINLM_HISTORY)
    top, _ = loss(history.to_pandas()).axes
    assert top.get_legend_handles_labels()[1] == ["total", "variance of what is hidden"]
    pretrain = config.pretrain.model_copy(update={"model": "brainlm-13m"})
    caption = loss_caption(config.model_copy(update={"pretrain": pretrain}))
    assert "brainlm-13m" in caption
    assert "75% hidden" in caption
    assert "classification" not in caption
