"""Which participants are counted, and the class to which a difference refers."""

import numpy as np
import pandas as pd

from brainmass_core.config import parse_config
from brainmass_core.connectivity import vectorise
from brainmass_core.report import connectome
from brainmass_core.report.flow import _people


def test_the_same_id_in_two_data_sets_is_two_people():
    scans = pd.DataFrame({"dataset": ["a", "a", "b"], "participant_id": ["01", "01", "01"]})
    assert _people(scans) == 2


def test_the_difference_is_the_second_class_minus_the_first(tmp_path, monkeypatch):
    raw = {
        "datasets": {"d": {"kind": "timeseries", "role": "internal", "path": str(tmp_path)}},
        "tasks": {"t": {"datasets": ["d"], "label": "x", "classes": {"a": ["0"], "b": ["1"]}}},
    }
    first, second = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.2, -0.1])
    sums = ([3 * first, 2 * second], [3, 2])
    monkeypatch.setattr(connectome, "mean_per_class", lambda *_: sums)
    monkeypatch.setattr(connectome, "atlas_name", lambda *_: "toy")
    monkeypatch.setattr(connectome, "parcels", lambda *_: pd.DataFrame({"network": ["", "", ""]}))
    found = connectome.read_connectome(
        parse_config(raw), pd.DataFrame({"task": ["t"], "used": [True]})
    )
    np.testing.assert_allclose(vectorise(found.difference), second - first, atol=1e-12)
    np.testing.assert_allclose(vectorise(found.mean), (3 * first + 2 * second) / 5, atol=1e-12)
