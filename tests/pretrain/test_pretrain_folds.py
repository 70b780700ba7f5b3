"""Encoders that are each trained without one fold, and what they record of whom they have seen."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from brainmass_core import pfc
from brainmass_core.config import parse_config
from brainmass_core.finetune.cohort.leaks import scans_shown_to_each
from brainmass_core.models.pretrained import ModelError, seal
from brainmass_core.pretrain.artefacts import publish
from brainmass_core.pretrain.data.left_out import read_trained_on
from brainmass_core.pretrain.data.tested_people import refuse_tested_people
from brainmass_core.pretrain.data.usable_series import ShardError
from brainmass_core.pretrain.data.views import index_shards
from brainmass_core.pretrain.launch.torchrun import torchrun_command
from brainmass_core.pretrain.loop.checkpoint import Checkpoints
from brainmass_core.pretrain.loop.distributed import Ranks
from brainmass_core.pretrain.loop.train import make_stream, train
from brainmass_core.scans.copies import LeakError, persons
from brainmass_core.scans.pretraining_folds import fold_of
from brainmass_core.tables import SCANS, TableError, from_rows, read_table, write_table


def rewritten(study, name: str, **columns) -> None:
    """The scans table of a data set with other values in some columns."""
    path = study.paths.scans(name)
    rows = read_table(path, "scans").to_pandas()
    for column, value in columns.items():
        rows[column] = rows["scan_id"].map(value) if callable(value) else value
    rows = rows.astype(object).where(rows.notna(), None)
    write_table(path, from_rows(rows[SCANS.names].to_dict("records"), SCANS), "scans")


@pytest.fixture
def crossed(make_study):
    """Two folds; `a` is tested and trained on, `b` is trained on; one person is in both."""
    study = make_study(folds=2)
    rewritten(study, "a", split="crossed", dataset="a", role="internal",
              batch=lambda s: int(s[1:]) % 3)  # fmt: skip
    rewritten(study, "b", dataset="b", role="pretrain", batch=0,
              participant_id=lambda s: "p-a001" if s == "b000" else f"p-{s}")  # fmt: skip
    for name, batch in (("a", 0), ("a", 1), ("a", 2), ("b", 0)):
        pfc.run(study.config, name, batch)
    return study


def people(study, *names: str) -> dict[str, str]:
    """scan_id to person."""
    tables = [read_table(study.paths.scans(name), "scans").to_pandas() for name in names]
    scans = pd.concat(tables, ignore_index=True)
    return dict(zip(scans["scan_id"], persons(scans), strict=True))


def indexed(config) -> set[str]:
    return {s for g in index_shards(config).groups for s in g.scan_ids}


@pytest.mark.parametrize("source", ["pfc", "timeseries"])
def test_each_encoder_is_given_everybody_but_its_fold(crossed, source):
    study = crossed.changed(source=source)
    of = people(study, "a", "b")
    tested = set(people(study, "a").values())
    for fold in study.config.folds:
        expected = {s for s, p in of.items() if p not in tested or fold_of(p, 2, 42) != fold}
        assert indexed(study.config.for_fold(fold)) == expected
        assert len(expected) < len(of)


def test_a_person_of_the_fold_is_left_out_of_data_sets_for_pretraining_too(crossed):
    fold = fold_of(people(crossed, "a")["a001"], 2, 42)
    assert not {"a001", "b000"} & indexed(crossed.config.for_fold(fold))
    assert {"a001", "b000"} <= indexed(crossed.config.for_fold(3 - fold))


def test_a_scan_has_the_same_views_whoever_is_left_out(crossed):
    """Positions in a row group are those of its file, not those of the scans that are used."""

    def views(config) -> dict[str, bytes]:
        stream = make_stream(config, index_shards(config), 0, 1)
        return {
            s: stream._scan(g, i).tobytes()
            for g, group in enumerate(stream.index.groups)
            for i, s in enumerate(group.scan_ids)
        }

    first, second = (views(crossed.config.for_fold(i)) for i in (1, 2))
    both = set(first) & set(second)
    assert both
    assert set(first) != set(second)
    assert all(first[s] == second[s] for s in both)
    assert len(set((first | second).values())) == len(first | second)


def test_folds_are_resumed_from_checkpoints_of_their_own(crossed):
    folders = set()
    for fold in (1, 2):
        config = crossed.config.for_fold(fold)
        index = index_shards(config)
        folders.add(Checkpoints(config, index.fingerprint).work)
        words = torchrun_command(config, crossed.path, index.fingerprint)
        assert words[words.index("--fold") + 1] == str(fold)
    assert len(folders) == 2
    assert "--fold" not in torchrun_command(crossed.changed(folds=None).config, crossed.path, "x")


@pytest.fixture
def published(crossed):
    """Both encoders, after some steps of one rank in this process."""
    for fold in (1, 2):
        config = crossed.config.for_fold(fold)
        index = index_shards(config)
        checkpoints = Checkpoints(config, index.fingerprint)
        train(config, index, checkpoints, Ranks(0, 1, 1, torch.device("cpu")), lambda: False)
        publish(config, index, checkpoints.latest())
    return crossed


def test_an_encoder_records_whom_it_was_trained_on(published):
    shown = scans_shown_to_each(published.config)
    for fold, scans in shown.items():
        assert set(scans["scan_id"]) == indexed(published.config.for_fold(fold))
        card = (published.paths.pretrain("brainmass", fold) / "README.md").read_text()
        assert f"This is encoder {fold} of 2" in card
        assert "participants excluded" in card


def test_a_record_that_is_not_the_models_own_is_refused(published):
    config = published.config.for_fold(1)
    one, two = (published.paths.pretrain("brainmass", i) / "trained_on.parquet" for i in (1, 2))
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    with pytest.raises(ModelError, match="not the list of the scans that this model was trained"):
        read_trained_on(config)
    one.write_bytes(kept[:-200])
    with pytest.raises(TableError, match="damaged"):
        read_trained_on(config)
    one.unlink()  # as of a model from elsewhere
    with pytest.raises(TableError, match="no such table; run: snakemake --cores all pretrain"):
        read_trained_on(config)
    one.write_bytes(kept)
    read_trained_on(config)
    settings = one.with_name("config.json")
    settings.write_text(settings.read_text().replace('"fold": 1', '"fold": 2'))
    with pytest.raises(ModelError):
        read_trained_on(config)
    seal(one.parent)  # with a new checksum it is still that of another fold
    with pytest.raises(ModelError, match="not the list of the scans"):
        read_trained_on(config)


def test_an_external_person_in_a_data_set_for_pretraining_is_refused(crossed):
    rows = [{"scan_id": "c0", "dataset": "c", "participant_id": "p-b003", "split": "test"}]
    write_table(crossed.paths.scans("c"), from_rows(rows, SCANS), "scans")
    task = {"datasets": ["a", "c"], "label": "dx", "classes": {"x": ["1"], "y": ["2"]}}
    raw = crossed.config.model_dump(mode="json", exclude_unset=True) | {"tasks": {"dx": task}}
    config = parse_config(raw)
    fold = fold_of(people(crossed, "b")["b003"], 2, 42)
    with pytest.raises(LeakError, match="c0"):
        refuse_tested_people(config.for_fold(fold))
    refuse_tested_people(config.for_fold(3 - fold))


def test_a_fold_without_participants_is_refused(crossed):
    rewritten(crossed, "a", split="train")
    with pytest.raises(ShardError, match="found no participant in fold 1 of 2"):
        index_shards(crossed.config.for_fold(1))
