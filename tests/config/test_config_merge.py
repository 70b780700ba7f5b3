"""Nested settings are merged one by one, at any depth."""

from brainmass_core.config.load import deep_merge


def test_one_knob_leaves_its_neighbours_at_any_depth():
    below = {"a": {"b": {"c": 1, "d": 2}, "e": [1, 2]}, "f": 3}
    over = {"a": {"b": {"c": 9}, "e": [5]}}
    assert deep_merge(below, over) == {"a": {"b": {"c": 9, "d": 2}, "e": [5]}, "f": 3}
    assert below["a"]["b"]["c"] == 1
