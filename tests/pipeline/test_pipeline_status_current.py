"""What was made by an older configuration is said, whichever batch it is."""

import pytest

from brainmass_core.config import parse_config
from brainmass_core.pipeline.hashing import stage_hash
from brainmass_core.pipeline.manifest import write_manifest
from brainmass_core.pipeline.paths import Paths
from brainmass_core.pipeline.status import standings
from brainmass_core.tables import SCANS, from_rows, write_table


@pytest.mark.parametrize("old", [None, 0, 1])
def test_one_batch_of_an_older_configuration_makes_the_stage_an_older_one(tmp_path, old):
    dataset = {"kind": "bids", "role": "internal", "path": str(tmp_path), "batches": 2}
    config = parse_config({"results": str(tmp_path / "r"), "datasets": {"d": dataset}})
    paths, wanted = Paths(config.results), stage_hash(config, "preprocess", "d")
    write_table(paths.scans("d"), from_rows([{"scan_id": "s"}], SCANS), "scans")
    for batch in range(2):
        made_by = "older" if batch == old else wanted
        write_manifest(paths.manifest("preprocess", "d", batch), [], made_by)
    found = {s.stage: s.current for s in standings(config)}
    assert found["preprocess"] == (old is None)
