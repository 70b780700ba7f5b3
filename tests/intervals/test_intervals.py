import pytest

from brainmass_core.intervals import fixed, side_of, span, with_interval

NAN = float("nan")


@pytest.mark.parametrize("missing", [None, NAN])
def test_an_unknown_interval_is_said_to_be_unknown_and_is_on_no_side(missing):
    assert with_interval(0.69, missing, missing) == "0.69 (interval unknown)"
    assert with_interval(missing, missing, missing) == "unknown (interval unknown)"
    assert span(missing, 0.8) == span(0.6, missing) == ""
    assert side_of(missing, missing, 0.5) == side_of(0.6, missing, 0.5) == "unknown"


def test_a_known_interval_is_shown_and_lies_on_a_side():
    assert with_interval(0.69, 0.6, 0.78) == "0.69 (95 % interval 0.60 to 0.78)"
    assert with_interval(0.1, -0.001, 0.2, 2, "+") == "+0.10 (95 % interval 0.00 to +0.20)"
    assert fixed(-0.001, 2, "+") == "0.00"
    assert [side_of(*ends, 0.5) for ends in ((0.6, 0.7), (0.3, 0.4), (0.4, 0.6), (0.5, 0.6))] == [
        "above",
        "below",
        "around",
        "around",
    ]
