"""The motion of a scan is that of the series that is analysed."""

from synthetic_study import write_study

from brainmass_core.finetune.dataset import assemble
from brainmass_core.tables import PREPROCESS, from_rows, read_table, write_table


def test_the_displacement_of_the_series_goes_before_that_of_preprocessing(tmp_path):
    study = write_study(tmp_path)
    before = assemble(study.config, "demo_task").cohort["mean_fd"]
    table = study.paths.batch("timeseries", "demo", 0)
    known = read_table(table, "timeseries", ["scan_id", "mean_fd"]).to_pylist()
    rows = [{"scan_id": r["scan_id"], "status": "ok", "mean_fd": 9.0} for r in known]
    assert any(r["mean_fd"] is not None for r in known)
    path = study.paths.batch("preprocess", "demo", 0)
    write_table(path, from_rows(rows, PREPROCESS), "preprocess")
    after = assemble(study.config, "demo_task").cohort.set_index("scan_id")["mean_fd"]
    for row in known:
        expected = 9.0 if row["mean_fd"] is None else row["mean_fd"]
        assert after[row["scan_id"]] == expected
    assert before.notna().any()
