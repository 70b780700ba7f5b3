"""`brainmass status` accounts for every scan from what lies on disk."""

import json
from dataclasses import asdict
from pathlib import Path

from brainmass_core.checksums import sealed
from brainmass_core.config import Config, parse_config
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.journal import Journal
from brainmass_core.pipeline.kept import journal_name, work_folder
from brainmass_core.pipeline.manifest import Entry, write_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.status import standings
from brainmass_core.tables import SCANS, from_rows, write_table


def example(tmp_path: Path) -> Config:
    """Five scans: one excluded at once; batch 0 published, batch 1 under way."""
    dataset = {"kind": "bids", "role": "internal", "path": str(tmp_path), "batches": 2}
    config = parse_config({"results": str(tmp_path / "r"), "datasets": {"d": dataset}})
    paths = Paths(config.results)
    rows = [
        {"scan_id": f"s{i}", "split": "test" if i == 3 else "train", "batch": i % 2}
        for i in range(5)
    ]
    rows[4]["excluded_reason"] = "3-D"
    write_table(paths.scans("d"), from_rows(rows, SCANS), "scans")
    wanted = stage_hash(config, "preprocess", "d")
    published = [
        Entry("preprocess", "d", 0, "s0", "ok", seconds=2.0),
        Entry("preprocess", "d", 0, "s2", "failed", reason="truncated"),
    ]
    write_manifest(paths.manifest("preprocess", "d", 0), published, wanted)
    work = work_folder(config, "preprocess", "d")
    work.mkdir(parents=True)
    kept = Entry("preprocess", "d", 1, "s1", "excluded", reason="motion")
    (work / "s1.json").write_text(json.dumps(sealed({"entry": asdict(kept), "rows": None})))
    # batches share the folder: a scan whose batch is published is counted there
    (work / "s0.json").write_text(json.dumps(sealed({"entry": asdict(published[0]), "rows": None})))
    # batch 0 of the next stage is under way
    journal = Journal(work_folder(config, "timeseries", "d") / journal_name(0, 2))
    journal.append(Entry("timeseries", "d", 0, "s0", "failed", reason="early"), "", None)
    journal.append(Entry("timeseries", "d", 0, "s0", "ok"), "", b"rows")
    journal.close()
    with open(journal.path, "ab") as file:
        file.write(b"what is being written now")
    return config


def test_entered_is_done_plus_failed_plus_excluded_plus_left(tmp_path):
    rows = {s.stage: s for s in standings(example(tmp_path))}
    scans, preprocess = rows["scans"], rows["preprocess"]
    assert (scans.entered, scans.excluded, scans.left) == (5, 1, 0)
    assert (preprocess.entered, preprocess.done) == (4, 1)
    assert (preprocess.failed, preprocess.excluded, preprocess.left) == (1, 1, 1)


def test_a_scan_that_fell_out_does_not_enter_the_next_stage(tmp_path):
    rows = {s.stage: s for s in standings(example(tmp_path))}
    assert rows["timeseries"].entered == 2
    assert (rows["timeseries"].done, rows["timeseries"].failed, rows["timeseries"].left) == (
        1,
        0,
        1,
    )
    assert rows["quality"].entered == 5, "a lost scan has a page that says why"
    assert rows["pfc"].entered == 1, "the test participant stays out of the shards"
