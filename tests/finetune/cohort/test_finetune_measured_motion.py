"""The motion of a scan is that of the series that is analysed."""

import pyarrow as pa
from synthetic_study import write_study

from brainmass_core.finetune.cohort.dataset import assemble
from brainmass_core.tables import PREPROCESS, from_rows, read_table, write_table


def test_the_displacement_of_the_series_goes_before_that_of_preprocessing(tmp_path):
    study = write_study(tmp_path)
    path = study.paths.batch("timeseries", "demo", 0)
    table = read_table(path, "timeseries")
    ids = table["scan_id"].to_pylist()
    # the time series of every other scan lack it
    fd = [0.125 if i % 2 else None for i in range(len(ids))]
    place = table.schema.get_field_index("mean_fd")
    field = table.schema.field(place)
    write_table(path, table.set_column(place, field, pa.array(fd, field.type)), "timeseries")
    rows = [{"scan_id": s, "status": "ok", "mean_fd": 0.25} for s in ids]
    found = study.paths.batch("preprocess", "demo", 0)
    write_table(found, from_rows(rows, PREPROCESS), "preprocess")
    cohort = assemble(study.config, "demo_task").cohort.set_index("scan_id")["mean_fd"]
    assert [cohort[s] for s in ids] == [f or 0.25 for f in fd]


def test_two_definitions_of_displacement_in_one_task_are_said(tmp_path, caplog):
    study = write_study(tmp_path)
    path = study.paths.batch("timeseries", "demo", 0)
    table = read_table(path, "timeseries")
    place = table.schema.get_field_index("fd_kind")

    def kinds(*found):
        column = pa.array([*found, *[found[-1]] * (len(table) - len(found))], pa.string())
        changed = table.set_column(place, table.schema.field(place), column)
        write_table(path, changed, "timeseries")
        caplog.clear()
        assemble(study.config, "demo_task")
        return "Power's for some scans and Jenkinson's" in caplog.text

    assert not kinds("power")
    assert not kinds("power", None)
    assert kinds("power", "jenkinson")
