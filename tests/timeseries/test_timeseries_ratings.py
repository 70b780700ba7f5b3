"""A scan that raters exclude is gone from FC and pseudo-FC; nothing else is computed again."""

from dataclasses import replace

import numpy as np
import pytest

from brainmass_core import connectivity, pfc, scans, timeseries
from brainmass_core.config import parse_config
from brainmass_core.pipeline.batch import IN_LINE
from brainmass_core.pipeline.manifest import RATED, read_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.quality.inputs import list_items
from brainmass_core.quality.measures import Reference
from brainmass_core.quality.page import headline, page_hash
from brainmass_core.readers.ratings import COLUMNS
from brainmass_core.tables import read_table
from brainmass_core.timeseries.table import bold_by_scan

pytestmark = pytest.mark.study
NAMES = [f"d_sub-{i}_task-rest" for i in range(6)]
GONE = NAMES[2]
STAGES = ("timeseries", "connectivity", "pfc")


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv(IN_LINE, "1")
    rng = np.random.default_rng(0)
    for name in NAMES:
        file = tmp_path / "data" / f"{name.removeprefix('d_')}.npy"
        file.parent.mkdir(exist_ok=True)
        np.save(file, rng.standard_normal((80, 5)))
    config = configured(tmp_path)
    scans.run(config, "d")
    return tmp_path


def configured(folder, *rows, **quality):
    """The configuration, with a file of ratings if there are rows (scan, rating, rater)."""
    file = folder / "ratings.tsv"
    lines = [f"{s}\t{rating}\tmotion\tjerks\t{who}\tn/a\tn/a" for s, rating, who in rows]
    file.write_text("\n".join(["\t".join(COLUMNS), *lines, ""]))
    data = {"kind": "timeseries", "path": str(folder / "data"), "role": "pretrain", "t_r": 2.0}
    raw = {
        "results": str(folder / "results"),
        "datasets": {"d": data | {"orientation": "time_by_roi"}},
        "atlas": {"name": "five", "n_rois": 5},
        "preprocess": {"min_volumes": 40},
        "timeseries": {"derivatives": True},
        "quality": quality | ({"ratings": [str(file)]} if rows else {}),
    }
    return parse_config(raw)


def made(config):
    """Run the stages; names of the scans that each table has, as used by later stages."""
    timeseries.run(config, "d", 0)
    connectivity.run(config, "d", 0)
    pfc.run(config, "d", 0)
    paths = Paths(config.results)
    series = read_table(paths.batch("timeseries", "d", 0), "timeseries")
    tables = {s: read_table(paths.batch(s, "d", 0), s) for s in STAGES[1:]}
    found = {s: set(t["scan_id"].to_pylist()) for s, t in tables.items()}
    return found | {"timeseries": set(bold_by_scan(series))}


def entries(config, stage):
    return {e.scan_id: e for e in read_manifest(Paths(config.results).manifest(stage, "d", 0))}


def test_an_excluded_scan_is_gone_after_the_series_and_its_reason_is_recorded(study):
    assert made(configured(study)) == {stage: set(NAMES) for stage in STAGES}
    matrices = Paths(study / "results").derivatives("d", "connectivity")
    files = {f.name for f in matrices.rglob("*_relmat.*")}
    assert len(files) == 2 * len(NAMES)
    config = configured(study, (GONE, "exclude", "Ada"), (NAMES[0], "accept", "Ada"))
    assert made(config) == {stage: set(NAMES) - {GONE} for stage in STAGES}
    entry = entries(config, "timeseries")[GONE]
    assert (entry.status, entry.step) == ("excluded", RATED)
    assert entry.reason == 'rated exclude by Ada (motion; "jerks")'
    rows = read_table(Paths(config.results).batch("timeseries", "d", 0), "timeseries")
    row = next(r for r in rows.to_pylist() if r["scan_id"] == GONE)
    assert (row["status"], row["reason"]) == ("excluded", entry.reason)
    assert set(entries(config, "connectivity")) == set(NAMES) - {GONE}
    gone = files - {f.name for f in matrices.rglob("*_relmat.*")}
    assert len(gone) == 2
    assert all(name.startswith(GONE.removeprefix("d_")) for name in gone)


def test_other_scans_are_taken_over_and_a_withdrawn_rating_brings_the_scan_back(study, monkeypatch):
    before = configured(study)
    made(before)
    table = Paths(before.results).batch("timeseries", "d", 0)
    whole, called, own = table.read_bytes(), [], timeseries._process
    monkeypatch.setattr(timeseries, "_process", lambda item: called.append(item) or own(item))
    made(configured(study, (GONE, "exclude", "Ada")))
    assert [item.scan["scan_id"] for item in called] == [GONE]
    made(configured(study, (GONE, "exclude", "Ada"), (NAMES[0], "uncertain", "Ada")))
    assert len(called) == 1, "what excludes nothing repeats nothing"
    made(configured(study, (GONE, "exclude", "Ada"), (GONE, "accept", "Bo"), exclude_if="all"))
    assert [item.scan["scan_id"] for item in called] == [GONE, GONE]
    assert table.read_bytes() == whole


def test_raters_see_the_same_page_of_a_scan_that_they_excluded(study):
    config = configured(study)
    made(config)
    before = list_items(config, "d", 0)[GONE]
    config = configured(study, (GONE, "exclude", "Ada"))
    made(config)
    after = list_items(config, "d", 0)[GONE]
    assert page_hash(after) == page_hash(before)
    np.testing.assert_array_equal(after.bold, before.bold)
    np.testing.assert_allclose(after.fc, before.fc, atol=1e-6)
    assert headline(after.fate) == "This scan was excluded by its raters."
    assert after.fate["reason"].startswith("rated exclude by Ada")


def test_the_hash_of_a_page_follows_the_series(study):
    config = configured(study)
    made(config)
    item = list_items(config, "d", 0)[GONE]
    other = list_items(config, "d", 0)[NAMES[0]]
    assert page_hash(item) != page_hash(other)
    moved = item.bold.copy()
    moved[0, 0] += 1
    assert page_hash(replace(item, bold=moved)) != page_hash(item)
    others = {"mean_fd": Reference(0.1, 0.01, 30)}
    assert page_hash(replace(item, others=others)) == page_hash(item), "other scans do not matter"
