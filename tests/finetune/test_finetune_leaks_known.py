"""What pre-training was given: by scan, by participant, by file."""

import pandas as pd

from brainmass_core.finetune.leaks import known_to_pretraining


def table(*rows):
    columns = ["scan_id", "dataset", "participant_id", "bold_path", "bold_key"]
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(participant=found["dataset"] + "/" + found["participant_id"])


def test_a_scan_is_known_by_itself_its_participant_or_its_file_and_by_nothing_else():
    shown = table(("a1", "a", "p1", "/x.npz", "one"), ("a2", "a", "p2", None, None))
    scans = table(
        ("a1", "b", "q1", "/1", None),
        ("b2", "a", "p1", "/2", None),
        ("b3", "b", "q3", "/x.npz", "one"),
        ("b4", "b", "q4", "/x.npz", "two"),
        ("b5", "b", "p1", None, None),
    )
    assert known_to_pretraining(scans, shown).tolist() == [True, True, True, False, False]
