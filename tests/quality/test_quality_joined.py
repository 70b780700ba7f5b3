"""Quality pages show single runs, also if FC is computed from joined ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_joined_study import joined_study

from brainmass_core.connectivity import pearson, vectorise
from brainmass_core.pipeline.manifest import Entry, read_manifest, write_manifest
from brainmass_core.quality import motion
from brainmass_core.quality.inputs import list_items
from brainmass_core.tables import read_table

pytestmark = pytest.mark.study


@pytest.fixture(scope="module")
def study(built_once):
    return joined_study(built_once)


def test_a_page_shows_the_fc_of_its_run(study):
    items = list_items(study.config, "demo", 0)
    assert set(items) == set(study.scans.loc[study.scans["batch"] == 0, "scan_id"])
    item = items["demo_s04_run-1"]
    np.testing.assert_allclose(item.fc, vectorise(pearson(item.bold)), atol=1e-6)
    assert item.fate["status"] == "ok"
    assert items["demo_s00_run-0"].fate["stage"] == "scans"


def test_a_unit_that_failed_is_told_on_the_page_of_each_run(study, tmp_path):
    from synthetic_study import copy_of

    study = copy_of(study, tmp_path)
    path = study.paths.manifest("connectivity", "demo", 0)
    failed = Entry("connectivity", "demo", 0, "demo_s04", "failed", "copies of one recording")
    kept = [e for e in read_manifest(path) if e.scan_id != "demo_s04"]
    write_manifest(path, [*kept, failed], "hash")
    items = list_items(study.config, "demo", 0)
    told = {s: i.fate["stage"] for s, i in items.items() if i.scan["participant_id"] == "s04"}
    assert told == {"demo_s04_run-0": "connectivity", "demo_s04_run-1": "connectivity"}
    assert items["demo_s06_run-0"].fate["stage"] == ""


def test_qc_fc_takes_the_joined_fc_of_a_person(study):
    scans = study.scans.assign(status="ok").dropna(subset=["mean_fd"])
    people = scans.groupby("participant_id")["mean_fd"].mean()
    sums, _ = motion._summed(study.config, "demo", scans, people, pd.DataFrame(index=people.index))
    tables = [
        read_table(study.paths.batch("connectivity", "demo", b), "connectivity").to_pandas()
        for b in range(2)
    ]
    fc = pd.concat(tables).set_index("scan_id")["fc"]
    who = fc.index.str.removeprefix("demo_")
    expected = np.corrcoef(np.stack(fc).T, people[who].to_numpy())[-1, :-1]
    np.testing.assert_allclose(sums.qc_fc().r, expected, atol=1e-5)
