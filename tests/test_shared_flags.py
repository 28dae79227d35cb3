import pytest
from absl import flags
from absl.testing import flagsaver

from launch.recovery import shared_flags


@pytest.fixture(autouse=True)
def parsed():
    flags.FLAGS.mark_as_parsed()


def test_values_that_mean_missing_are_taken_in_full():
    with flagsaver.flagsaver(invalid=["65535", "-1e3", "0.001", "inf", str((1 << 64) - 1)]):
        assert shared_flags.reading().invalid == (
            65535,
            -1000,
            0.001,
            float("inf"),
            (1 << 64) - 1,
        )
    with flagsaver.flagsaver(invalid=["nan"]):
        (number,) = shared_flags.reading().invalid
        assert number != number


@pytest.mark.parametrize("text", ["", "none", "1;2", "0x10"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(flags.IllegalFlagValueError, match="give numbers"):
        flags.FLAGS.invalid = [text]
