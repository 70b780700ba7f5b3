"""`brainmass retry` tries what fell out again, the list of the scans included."""

import numpy as np

from brainmass_core.config import parse_config
from brainmass_core.pipeline.manifest import Entry, write_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.retry import forget_exclusions, forget_failures
from brainmass_core.scans import run
from brainmass_core.tables import read_table


def study(tmp_path):
    """Four series in as many batches as it takes to part them; one file is not readable yet."""
    for i in range(4):
        np.save(tmp_path / f"sub-{i}.npy", np.ones((9, 3)))
    (tmp_path / "sub-2.npy").write_bytes(b"on its way")
    data = {"kind": "timeseries", "role": "external", "path": str(tmp_path), "t_r": 2}
    own = {"kind": "timeseries", "role": "internal", "path": str(tmp_path), "t_r": 2}
    datasets = {"d": data | {"batches": 8}, "own": own}
    raw = {"results": str(tmp_path / "r"), "datasets": datasets, "atlas": {"n_rois": 3}}
    return parse_config(raw)


def test_scans_that_were_excluded_are_listed_again_and_their_batches_made_again(tmp_path):
    config = study(tmp_path)
    paths = Paths(config.results)
    run(config, "d")
    rows = {r["scan_id"]: r for r in read_table(paths.scans("d"), "scans").to_pylist()}
    assert rows["d_sub-2"]["excluded_reason"]
    for batch in range(8):
        paths.batch("timeseries", "d", batch).parent.mkdir(parents=True, exist_ok=True)
        paths.batch("timeseries", "d", batch).touch()
    stamp = paths.scans("d").stat().st_mtime_ns
    assert forget_exclusions(config) == {"d": []}
    assert paths.scans("d").stat().st_mtime_ns == stamp, "nothing changed, so nothing is published"

    np.save(tmp_path / "sub-2.npy", np.ones((9, 3)))
    gone = paths.batch("timeseries", "d", rows["d_sub-2"]["batch"])
    assert forget_exclusions(config) == {"d": [gone]}
    assert [paths.batch("timeseries", "d", b).exists() for b in range(8)].count(False) == 1
    assert not gone.exists()
    assert not any(r["excluded_reason"] for r in read_table(paths.scans("d"), "scans").to_pylist())
    assert forget_exclusions(config) == {}


def test_forgetting_failures_removes_exactly_the_batches_with_failures(tmp_path):
    paths = Paths(tmp_path)
    table = paths.batch("preprocess", "d", 0)
    published = [
        Entry("preprocess", "d", 0, "s0", "ok", seconds=2.0),
        Entry("preprocess", "d", 0, "s2", "failed", reason="truncated"),
    ]
    write_manifest(paths.manifest("preprocess", "d", 0), published, "")
    write_manifest(paths.manifest("preprocess", "d", 1), published[:1], "")
    assert forget_failures(paths) == [table]
    assert not paths.manifest("preprocess", "d", 0).exists()
    assert paths.manifest("preprocess", "d", 1).exists()


def test_every_retry_changes_the_input_of_the_batch(tmp_path):
    paths = Paths(tmp_path)
    failed = [Entry("pfc", "d", 3, "s", "failed", reason="killed")]
    seen = set()
    for _ in range(3):
        write_manifest(paths.manifest("pfc", "d", 3), failed, "")
        forget_failures(paths)
        seen.add(paths.retried("pfc", "d", 3).read_bytes())
    assert len(seen) == 3
