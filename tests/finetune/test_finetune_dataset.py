"""One spelling of equal values of a label."""

import pytest

from brainmass_core.finetune.dataset import canonical


@pytest.mark.parametrize(
    ("value", "same"), [("1.0", "1"), (" 2", "2"), ("01", "1"), ("ASD ", "ASD"), ("1.5", "1.5")]
)
def test_equal_values_have_one_spelling(value, same):
    assert canonical(value) == canonical(same) == same


@pytest.mark.parametrize("value", ["inf", "nan", "n/a", "1e999"])
def test_text_that_is_no_number_stays_text(value):
    assert canonical(value) == value
