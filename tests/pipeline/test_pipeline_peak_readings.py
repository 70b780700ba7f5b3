"""A peak is the largest reading, not the last one."""

from brainmass_core.pipeline.peak import Peak


def test_a_lower_reading_leaves_the_peak_as_it_was():
    peak = Peak()
    for mb in (3.0, 7.0, 5.0):
        peak.look(mb)
    assert peak.mb == 7.0
