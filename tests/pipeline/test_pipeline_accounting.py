"""Every scan is accounted for once, in the same way for `brainmass status` and for the pages."""

from __future__ import annotations

import pytest
from synthetic_study import make_config, write_study

from brainmass_core.pipeline import accounting
from brainmass_core.pipeline.accounting import account
from brainmass_core.pipeline.status import standings
from brainmass_core.report.cohort import stage_flow
from brainmass_core.tables import SCANS, from_rows

LISTED = {f"s{i}": ("test" if i == 3 else "train", "3-D" if i == 4 else None) for i in range(5)}
FATES = {
    "timeseries": {"s0": "ok", "s1": "failed", "s3": "ok", "gone": "ok"},
    "connectivity": {"s0": "ok", "s3": "excluded"},
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A study of five scans: one is refused when listed, one is tested, one has no outcome yet."""
    rows = [{"scan_id": s, "split": p, "excluded_reason": r} for s, (p, r) in LISTED.items()]
    monkeypatch.setattr(accounting, "read_table", lambda *_: from_rows(rows, SCANS))
    return make_config(tmp_path)


@pytest.mark.parametrize(
    ("waiting", "entering"), [(True, {"s0", "s2", "s3"}), (False, {"s0", "s3"})]
)
def test_a_scan_without_an_outcome_goes_on_only_where_it_is_waited_for(config, waiting, entering):
    found = {
        stage: (entered, known)
        for stage, entered, known in account(
            config, "demo", lambda stage: FATES.get(stage, {}), waiting
        )
    }
    assert found["scans"][0] == set(LISTED)
    assert found["timeseries"][0] == {"s0", "s1", "s2", "s3"}
    assert "gone" not in found["timeseries"][1]
    assert found["connectivity"][0] == entering
    assert found["pfc"][0] == entering - {"s3"}
    assert found["quality"][0] == set(LISTED), "a lost scan has a page that says why"


@pytest.mark.study
def test_status_and_pages_count_a_finished_study_alike(tmp_path):
    study = write_study(tmp_path, runs=2)
    flow = {r["Stage"]: r for r in stage_flow(study.config, ["demo"])}
    assert set(flow) == {"scans", "timeseries", "connectivity", "pfc"}
    for s in standings(study.config):
        if s.stage in flow:
            row = flow[s.stage]
            shown = [row[k] for k in ("In", "Ok", "Failed", "Excluded", "Missing")]
            assert shown == [s.entered, s.done, s.failed, s.excluded, s.left], s.stage
