"""Which participants are counted, the class of a difference, and codes that may be mixed."""

from html import unescape

import numpy as np
import pandas as pd
import pytest
from synthetic_study import write_two_cohorts

from brainmass_core.config import parse_config
from brainmass_core.config.adaptation import FewShot
from brainmass_core.connectivity import vectorise
from brainmass_core.finetune import run as finetune
from brainmass_core.pipeline.paths import Paths
from brainmass_core.report import connectome, run
from brainmass_core.report.flow import _people
from brainmass_core.tables import read_table


def test_the_same_id_in_two_data_sets_is_two_people():
    scans = pd.DataFrame({"dataset": ["a", "a", "b"], "participant_id": ["01", "01", "01"]})
    assert _people(scans) == 2


def test_the_difference_is_the_second_class_minus_the_first(tmp_path, monkeypatch):
    raw = {
        "datasets": {"d": {"kind": "timeseries", "role": "internal", "path": str(tmp_path)}},
        "tasks": {"t": {"datasets": ["d"], "label": "x", "classes": {"a": ["0"], "b": ["1"]}}},
    }
    first, second = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.2, -0.1])
    sums = ([3 * first, 2 * second], [3, 2])
    monkeypatch.setattr(connectome, "mean_per_class", lambda *_: sums)
    monkeypatch.setattr(connectome, "atlas_name", lambda *_: "toy")
    monkeypatch.setattr(connectome, "parcels", lambda *_: pd.DataFrame({"network": ["", "", ""]}))
    found = connectome.read_connectome(
        parse_config(raw), pd.DataFrame({"task": ["t"], "used": [True]})
    )
    np.testing.assert_allclose(vectorise(found.difference), second - first, atol=1e-12)
    np.testing.assert_allclose(vectorise(found.mean), (3 * first + 2 * second) / 5, atol=1e-12)


@pytest.mark.study
@pytest.mark.usefixtures("no_figures")
def test_codings_that_two_data_sets_may_not_share_are_on_the_page(tmp_path, pages):
    config = write_two_cohorts(tmp_path, methods=("chance",)).config
    config = config.model_copy(update={"few_shot": FewShot()})
    finetune(config, "across")
    run(config, "across")
    folder = Paths(config.results).finetune("across")
    (found,) = read_table(folder / "codings.parquet", "codings").to_pylist()
    assert (found["task"], found["column"]) == ("across", "dx")
    html = Paths(config.results).report("across").read_text()
    start = html.index("Check the coding: the codes 1, 2 of column")
    said = unescape(html[start:].split("<", 1)[0])
    assert said == f"Check the coding: {found['warning']}."
    assert "Check the coding" not in pages["demo_task"]  # of one data set
