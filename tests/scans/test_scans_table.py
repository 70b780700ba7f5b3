"""The published table: schema, roles, batches, sameness, and several data sets together."""

from __future__ import annotations

import numpy as np
import pytest

from brainmass_core.config import parse_config
from brainmass_core.pipeline.hashing import batch_of
from brainmass_core.pipeline.paths import Paths
from brainmass_core.scans import ScansError, check_unique, read_scans, read_unmatched, run
from brainmass_core.tables import SCANS, config_hash_of, read_table


@pytest.fixture
def config(tmp_path):
    """Two data sets, of which one has a table with a participant too many."""

    def make(results="results", seed=1, names=("a", "a_b"), stems=("01", "02")):
        datasets = {}
        for name, stem in zip(names, stems, strict=True):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            for i in range(20):
                np.save(folder / f"{stem}x{i}_run-1.npy", np.ones((5, 3)))
                np.save(folder / f"{stem}x{i}_run-2.npy", np.ones((5, 3)))
            section = {"kind": "timeseries", "path": str(folder), "t_r": 2.0, "batches": 3}
            datasets[name] = section | {"role": "internal", "pattern": "*.npy"}
        table = tmp_path / "table.csv"
        rows = [f"{stems[0]}x{i},{stems[0]}x{i}_run-{r},ü" for i in range(20) for r in (1, 2)]
        table.write_text("id,file,note\n" + "\n".join([*rows, "ghost,none,x"]))
        datasets[names[0]]["phenotype"] = {
            "path": str(table),
            "id_column": "id",
            "scan_column": "file",
        }
        raw = {"results": str(tmp_path / results), "seed": seed, "datasets": datasets}
        return parse_config(raw | {"quality": {"group_column": "note"}})

    return make


def test_the_table_has_the_schema_and_says_what_made_it(config):
    settings = config()
    run(settings, "a")
    path = Paths(settings.results).scans("a")
    table = read_table(path, "scans")
    assert table.schema.names == [*SCANS.names, "pheno_file", "pheno_note"]
    for field in SCANS:
        assert table.schema.field(field.name).type == field.type
    assert table["scan_id"].to_pylist() == sorted(table["scan_id"].to_pylist())
    assert config_hash_of(path)
    assert set(table["pheno_note"].to_pylist()) == {"ü"}
    unmatched = read_unmatched(path)
    assert (unmatched.table_only, unmatched.scans_only) == (["ghost"], [])


def test_runs_of_a_participant_share_split_and_batch(config):
    settings = config()
    run(settings, "a")
    scans = read_table(Paths(settings.results).scans("a"), "scans").to_pandas()
    assert (scans.groupby("participant_id")[["split", "batch"]].nunique() == 1).all(axis=None)
    assert scans.drop_duplicates("participant_id").split.value_counts()["test"] == 6
    assert list(scans.batch) == [batch_of("a", p, 3) for p in scans.participant_id]


@pytest.mark.parametrize(("role", "split"), [("pretrain", "pretrain"), ("external", "test")])
def test_the_role_decides_the_split(tmp_path, listed, role, split):
    np.save(tmp_path / "sub-01.npy", np.ones((5, 3)))
    scans = listed(tmp_path, kind="timeseries", role=role, t_r=2.0, pattern="*.npy")
    assert list(scans.split) == [split]


def test_the_same_input_gives_the_same_bytes(config):
    first, second, third = config("r1"), config("r2"), config("r3", seed=2)
    for settings in (first, second, third):
        run(settings, "a")
    content = [Paths(s.results).scans("a").read_bytes() for s in (first, second, third)]
    assert content[0] == content[1] != content[2]


def test_data_sets_are_read_together(config):
    settings = config()
    for name in ("a", "a_b"):
        run(settings, name)
    together = read_scans(Paths(settings.results), ["a", "a_b"])
    assert together.num_rows == 80
    assert together["pheno_note"].null_count == 40


def test_a_scan_id_that_two_data_sets_give_is_an_error(config):
    settings = config(names=("a", "a_b"), stems=("b_x", "x"))
    for name in ("a", "a_b"):
        run(settings, name)
    with pytest.raises(ScansError) as error:
        read_scans(Paths(settings.results), ["a", "a_b"])
    for word in ("40 scan ids", "a_b_xx0_run-1", "a/b_xx0_run-1.npy", "a_b/xx0_run-1.npy"):
        assert word in str(error.value)
    check_unique({"a": read_table(Paths(settings.results).scans("a"), "scans")})
    check_unique({})
