"""What a visitor sets in the lab is checked where it is read, and a link says it and is read back."""

import math

import pytest

from ddemo.errors import InputError
from ddemo.ui.lab import VIEWS
from ddemo.ui.lab.links import fragment_of, read_fragment
from ddemo.ui.lab.settings import Choice, Range, Written

TIME = Range("t", "Time t", 0.0, 1.0, 0.01, 0.5)
DRAWS = Range("draws", "Draws", 1, 6, 1, 3)
NOISE = Choice("noise", "Noise", {"absorbing": "masks", "uniform": "random words"}, "absorbing")
TEXT = Written("text", "Your sentence", "", "")


def test_numbers_in_range_are_read():
    assert (TIME.read(0), TIME.read(1.0), DRAWS.read(6.0)) == (0.0, 1.0, 6)
    assert isinstance(DRAWS.read(2.0), int) and isinstance(TIME.read(1), float)


@pytest.mark.parametrize("held", [None, "0.5", True, math.nan, math.inf, -0.01, 1.01, [], 10**400, -(10**400)])
def test_what_is_no_number_of_the_range_is_refused_in_a_sentence(held):
    with pytest.raises(InputError, match=r"^Time t must be a number from 0 to 1"):
        TIME.read(held)


def test_whole_numbers_choices_and_texts():
    with pytest.raises(InputError, match=r"whole number from 1 to 6, not 2\.5"):
        DRAWS.read(2.5)
    assert NOISE.read("uniform") == "uniform"
    for wrong in ("gaussian", None, ["uniform"]):
        with pytest.raises(InputError, match="masks, random words"):
            NOISE.read(wrong)
    for wrong in (None, 3, "x" * 20_001):
        with pytest.raises(InputError, match="at most 20,000"):
            TEXT.read(wrong)


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_a_link_restores_what_was_set(view):
    start = {setting.name: setting.default for setting in view.settings}
    short = fragment_of(view, start, "some-model")
    assert short == f"#lab={view.name}" + ("&checkpoint=some-model" if view.of_checkpoint else "")
    changed = {setting.name: _other(setting) for setting in view.settings}
    assert all(changed[name] != start[name] for name in start)
    found, values, checkpoint = read_fragment(fragment_of(view, changed, "some-model"), VIEWS)
    assert (found, values) == (view, changed)
    assert checkpoint == ("some-model" if view.of_checkpoint else "")


def _other(setting):
    if isinstance(setting, Range):
        return setting.read(setting.low if setting.default != setting.low else setting.high)
    if isinstance(setting, Choice):
        return next(choice for choice in setting.choices if choice != setting.default)
    return "Zwei Wörter & 0.5 0.5\n0.5 0.5"


@pytest.mark.parametrize(
    ("fragment", "why"),
    [
        (None, "describes no view"),
        ("#run=x@y", "describes no view"),
        ("#lab=nowhere", "no view called"),
        ("#lab=forward&what=1", "not known here"),
        ("#lab=forward&t=2", "from 0 to 1"),
        ("#lab=forward&t=nan", "from 0 to 1"),
        ("#lab=forward&t=half", "link says"),
        ("#lab=forward&t=0.1&t=0.2", "damaged"),
        ("#lab=forward&schedule=steep", "must be one of"),
        ("#lab=forward&text=a%00b", "control character"),
        ("#lab=forward&text=" + "x" * 40_000, "too long"),
    ],
)
def test_a_damaged_link_is_refused_in_a_sentence(fragment, why):
    with pytest.raises(InputError, match=why):
        read_fragment(fragment, VIEWS)
