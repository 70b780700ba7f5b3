import numpy as np

from brainmass_core.atlas import voronoi_atlas
from brainmass_core.interpret.surface import vertex_parcels


def test_every_parcel_meets_the_surface_of_its_own_hemisphere():
    atlas = voronoi_atlas()
    left, right = (vertex_parcels(atlas.load(), s, np.arange(1, 101)) for s in ("left", "right"))
    names = atlas.labels["name"].to_numpy()
    of_left = {names[i] for i in set(left.tolist()) - {-1}}
    of_right = {names[i] for i in set(right.tolist()) - {-1}}
    assert sum("_LH_" in n for n in of_left) >= 48
    assert sum("_RH_" in n for n in of_right) >= 48
    # vertices of the medial wall lie within a millimetre of the other hemisphere
    assert np.mean(["_LH_" in names[i] for i in left if i >= 0]) > 0.97
    assert np.mean(["_RH_" in names[i] for i in right if i >= 0]) > 0.97
