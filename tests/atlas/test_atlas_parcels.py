"""Parcels in the order of their networks, networks in the order of the atlas."""

import pandas as pd

from brainmass_core.atlas.parcels import network_order, same_network


def test_networks_keep_the_order_in_which_the_atlas_first_names_them():
    networks = pd.Series(["Vis", "Default", "Vis", "Cont", "Default"])
    assert network_order(networks).tolist() == [0, 2, 1, 4, 3]


def test_edges_within_networks_are_marked_row_by_row():
    assert same_network(pd.Series(["a", "b", "a"])).tolist() == [False, True, False]
    assert same_network(pd.Series(["a", "", "a"])) is None
