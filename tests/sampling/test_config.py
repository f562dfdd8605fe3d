"""SamplerConfig takes what makes sense and names field, value and range of what does not."""

import json
import math
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.errors import InputError
from ddemo.processes import SCHEDULES
from ddemo.sampling import SAMPLERS, Canvas, SamplerConfig, check_process, fresh_clock
from ddemo.sampling.config import MAX_BLOCK, MAX_CANDIDATES, MAX_SEED, MAX_STEPS
from ddemo.sampling.samplers import KNOBS, of_process
from ddemo.sampling.samplers.definition import BY_CLOCK
from tests.sampling.drive import MASK, all_masks, sentence_of


def ends_of(knob) -> tuple:
    """The outermost values of a knob; those of the two times depend on each other."""
    return knob.choices[:1] or (() if knob.name in ("t_on", "t_off") else (knob.low, knob.high))


HUGE = pytest.param(10**5000, id="huge")  # Python itself refuses to write it out
WRONG_TYPES = [None, True, False, "3", [1], {}, (1,), object(), b"1", 1j]
NUMBERS = {
    "temperature": "[0, 10]",
    "top_p": "(0, 1]",
    "guidance": "[0, 100]",
}
WHOLES = {
    "top_k": "0 to 1,000,000",
    "steps": "1 to 1,024",
    "seed": "0 to 9,007,199,254,740,991",
    "candidates": "0 to 10",
    "block_length": "0 to 65,536",
}
KNOBS_OF = [(sampler, knob) for sampler in SAMPLERS.values() for knob in sampler.knobs]
KNOB_IDS = [f"{sampler.name}-{knob.name}" for sampler, knob in KNOBS_OF]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("field, span", NUMBERS.items())
@pytest.mark.parametrize(
    "value", [*WRONG_TYPES, -1, -1e-9, math.nan, math.inf, -math.inf, 100.0001, 1e308, 10**400, HUGE]
)
def test_a_number_out_of_range(field, span, value):
    message = sentence_of(lambda: SamplerConfig(**{field: value}))
    assert message.startswith(f"{field} must be") and span in message


def test_a_nucleus_of_nothing_is_refused():
    assert "top_p must be a number in (0, 1], not 0.0" in sentence_of(lambda: SamplerConfig(top_p=0.0))


@pytest.mark.parametrize("field, span", WHOLES.items())
@pytest.mark.parametrize("value", [*WRONG_TYPES, -1, 1.5, 3.0, math.nan, math.inf, 2**53, 10**400, HUGE])
def test_a_whole_number_out_of_range(field, span, value):
    message = sentence_of(lambda: SamplerConfig(**{field: value}))
    assert message.startswith(f"{field} must be") and span in message


CHOICES = {
    "sampler": list(SAMPLERS),
    "draw": ["sample", "argmax"],
    "end_of_text": ["allow", "suppress", "late", "stop"],
}


@pytest.mark.parametrize("field, choices", CHOICES.items())
@pytest.mark.parametrize("value", ["", "Sample", "argmax ", "nothing" * 100, "\ud800", *WRONG_TYPES])
def test_a_choice_that_is_none(field, choices, value):
    message = sentence_of(lambda: SamplerConfig(**{field: value}), most=450)
    assert message.startswith(f"{field} must be one of {', '.join(choices)}, not ")


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0},
        {"temperature": 10},
        {"temperature": 1e-300},
        {"top_k": 1_000_000},
        {"top_p": 1e-12},
        {"top_p": 1},
        {"steps": 1},
        {"steps": MAX_STEPS},
        {"seed": MAX_SEED},
        {"candidates": 0},
        {"candidates": MAX_CANDIDATES},
        {"sampler": "ancestral", "draw": "argmax"},
        {"block_length": MAX_BLOCK},
        {"guidance": 100},
        *({"sampler": sampler.name, knob.name: end} for sampler, knob in KNOBS_OF for end in ends_of(knob)),
    ],
    ids=str,
)
def test_the_ends_of_each_range_are_inside(values):
    config = SamplerConfig(**values)
    assert {name: getattr(config, name) for name in values} == values
    assert SamplerConfig.from_values(config.as_dict()) == config


def test_it_is_frozen():
    with pytest.raises(FrozenInstanceError):
        SamplerConfig().steps = 3


@pytest.mark.parametrize(
    "given_value, field, read",
    [
        (32.0, "steps", 32),
        ("32", "steps", 32),
        (" 32 ", "steps", 32),
        ("1e2", "steps", 100),
        (str(MAX_SEED), "seed", MAX_SEED),
        (float(MAX_SEED), "seed", MAX_SEED),
        (MAX_SEED, "seed", MAX_SEED),
        ("0.5", "temperature", 0.5),
        (1, "temperature", 1.0),
        ("1", "top_p", 1.0),
        ("argmax", "draw", "argmax"),
    ],
)
def test_untrusted_values_are_read(given_value, field, read):
    got = getattr(SamplerConfig.from_values({field: given_value}), field)
    assert got == read and type(got) is type(read)


@pytest.mark.parametrize("field", [*NUMBERS, *WHOLES])
@pytest.mark.parametrize("value", [True, "", "many", "nan", "-inf", "0x10", [3], {"a": 1}, "9" * 400, "\ud800"])
def test_untrusted_values_that_are_no_numbers(field, value):
    assert sentence_of(lambda: SamplerConfig.from_values({field: value})).startswith(f"{field} must be")


@pytest.mark.parametrize("value", [1.5, "1.5", 2.0**53, str(2**53), -1.0])
def test_numbers_are_not_rounded_into_range(value):
    assert sentence_of(lambda: SamplerConfig.from_values({"seed": value})).startswith("seed must be a whole number")


@pytest.mark.parametrize("name", ["Steps", "", "steps ", "__class__", "x" * 10_000, "\ud800"])
def test_unknown_settings_are_named(name):
    message = sentence_of(lambda: SamplerConfig.from_values({name: 1}), most=450)
    assert message.startswith("There is no setting called") and "known are sampler, draw, temperature" in message


@pytest.mark.parametrize("values", [None, [], "steps", 3, [("steps", 3)]])
def test_settings_that_are_no_table(values):
    assert "must be a table" in sentence_of(lambda: SamplerConfig.from_values(values))


def test_what_is_not_given_is_the_default():
    """Pages and files may name every setting, with nothing where the sampler does not read it."""
    values = dict.fromkeys([*NUMBERS, *WHOLES, *CHOICES, *KNOBS])
    assert SamplerConfig.from_values(values) == SamplerConfig()
    assert SamplerConfig.from_values(values | {"sampler": "maskgit"}) == SamplerConfig("maskgit")


NAMES = st.sampled_from([*NUMBERS, *WHOLES, *CHOICES, *KNOBS])
VALUES = JSON_VALUES | st.sampled_from([*SAMPLERS, *SCHEDULES, "late", "self", 0.3])


@given(st.dictionaries(NAMES, VALUES, max_size=4))
@settings(max_examples=150, deadline=None)
def test_nothing_but_a_valid_config_or_an_input_error(values):
    try:
        config = SamplerConfig.from_values(values)
    except InputError as problem:
        str(problem).encode()
    else:
        assert SamplerConfig.from_values(json.loads(json.dumps(config.as_dict()))) == config


@pytest.mark.parametrize(
    "values, greedy",
    [
        ({}, False),
        ({"draw": "argmax"}, True),
        ({"temperature": 0.0}, True),
        ({"temperature": 1e-3}, False),
        ({"top_k": 1}, True),
        ({"top_k": 2}, False),
    ],
)
def test_what_counts_as_greedy(values, greedy):
    assert SamplerConfig(**values).greedy is greedy


# ---------------------------------------------------------------- knobs


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=lambda sampler: sampler.name)
def test_each_sampler_has_its_published_defaults_and_no_other_knob(sampler):
    config = SamplerConfig(sampler.name)
    for name in KNOBS:
        assert getattr(config, name) == sampler.defaults().get(name)
    assert set(config.as_dict()) == {field for field, value in vars(config).items() if value is not None}
    assert SamplerConfig.from_values(json.loads(json.dumps(config.as_dict()))) == config


PUBLISHED = [
    ("maskgit", {"order_temperature": 4.5, "mask_schedule": "cosine"}),
    ("dream-entropy", {"order_temperature": 0.0}),
    ("p2", {"eta": 1.0, "planner": "self"}),
    ("threshold", {"threshold": 0.9}),
    ("factor", {"factor": 1.0}),
    ("remdm-conf", {"eta": 1.0, "schedule": "linear"}),
    ("remdm-loop", {"eta": 0.02, "t_on": 0.55, "t_off": 0.05, "alpha_on": 0.9}),
    ("confidence", {}),
]


@pytest.mark.parametrize("name, knobs", PUBLISHED)
def test_defaults_are_those_of_the_source(name, knobs):
    assert SAMPLERS[name].defaults() == knobs


@pytest.mark.parametrize("sampler, knob", KNOBS_OF, ids=KNOB_IDS)
@pytest.mark.parametrize("value", [*WRONG_TYPES[1:], -0.001, 1e9, math.nan, math.inf, "nothing", 10**400, HUGE])
def test_a_knob_out_of_range(sampler, knob, value):
    message = sentence_of(lambda: SamplerConfig(sampler.name, **{knob.name: value}))
    expected = f"one of {', '.join(knob.choices)}" if knob.choices else f"a number in [{knob.low:g}, {knob.high:g}]"
    assert message.startswith(f"{knob.name} must be {expected}, not ")


@pytest.mark.parametrize("name", KNOBS)
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=lambda sampler: sampler.name)
def test_a_knob_of_another_sampler_is_refused(sampler, name):
    if sampler.knob(name):
        return
    owner = next(other for other in SAMPLERS.values() if other.knob(name))
    value = owner.knob(name).default
    message = sentence_of(lambda: SamplerConfig(sampler.name, **{name: value}))
    assert message.startswith(f"The sampler {sampler.name} has no setting {name} (it has ")
    assert all(known in message for known in sampler.defaults())


# ---------------------------------------------------------------- combinations that cannot be


def clock_of(canvas: Canvas, **values):
    return fresh_clock(canvas, SamplerConfig(**values), MASK)


IMPOSSIBLE = {
    "a nucleus of nothing": (
        lambda: SamplerConfig(top_p=0.0),
        "top_p must be a number in (0, 1], not 0.0.",
    ),
    "a threshold above 1": (
        lambda: SamplerConfig("threshold", threshold=1.01),
        "threshold must be a number in [0, 1], not 1.01.",
    ),
    "rates without a derivative": (
        lambda: SamplerConfig("sedd-euler", schedule="d3pm-cosine"),
        "schedule must be one of linear, cosine, cosine-squared, quadratic, geometric for sedd-euler, not "
        "'d3pm-cosine': that one has no derivative, from which the rates of this sampler are made.",
    ),
    "a loop that ends before it begins": (
        lambda: SamplerConfig("remdm-loop", t_on=0.2, t_off=0.3),
        "t_off and t_on must be in (0, 1) and t_off below t_on, not 0.3 and 0.2.",
    ),
    "a late end for a sampler that does not rank": (
        lambda: SamplerConfig("random", end_of_text="late"),
        "end_of_text must be one of allow, suppress, stop for random, not 'late': it does not rank what it fills.",
    ),
    "a block length that does not divide": (
        lambda: clock_of(all_masks(10), block_length=4),
        "block_length must divide the 10 masks, which 4 does not: take 2, or 0 for one block.",
    ),
    "a block longer than the masks": (
        lambda: clock_of(all_masks(10), block_length=16),
        "block_length must divide the 10 masks, which 16 does not: take 10, or 0 for one block.",
    ),
    "fewer steps than blocks": (
        lambda: clock_of(all_masks(12), block_length=2, steps=5),
        "steps must be at least 6, one for each block, not 5.",
    ),
    "a uniform sampler on a masked checkpoint": (
        lambda: check_process(SamplerConfig("uniform-joint"), "absorbing", "classics-mdm"),
        "sampler must be one for absorbing noise, which classics-mdm was trained on, not uniform-joint: that one is "
        "for uniform noise.",
    ),
    "a sampler of masks on a uniform checkpoint": (
        lambda: check_process(SamplerConfig("confidence"), "uniform", "words"),
        "sampler must be one for uniform noise, which words was trained on, not confidence: that one is for "
        "absorbing noise.",
    ),
    "guidance without masks": (
        lambda: check_process(SamplerConfig("flow", guidance=1.0), "uniform", "words"),
        "guidance must be 0 for words: a prompt is left out by masking it, and it has no masks.",
    ),
    "blocks without masks": (
        lambda: check_process(SamplerConfig("flow", block_length=4), "uniform", "words"),
        "block_length must be 0 for words: a block waits as masks for its turn, and it has none.",
    ),
    "an early stop among noise": (
        lambda: check_process(SamplerConfig("flow", end_of_text="stop"), "uniform", "words"),
        "end_of_text must be one of allow, suppress for words, not 'stop': a token that ends the text may be noise "
        "there until the last step.",
    ),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_cannot_be_is_one_sentence(what):
    make, expected = IMPOSSIBLE[what]
    with pytest.raises(ValueError):
        make()
    assert sentence_of(make) == expected


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=lambda sampler: sampler.name)
def test_each_combination_is_refused_for_all_it_concerns_and_no_other(sampler):
    for schedule in SCHEDULES if sampler.knob("schedule") else ():
        possible = not sampler.differentiates or SCHEDULES[schedule].derivative is not None
        assert accepted(lambda schedule=schedule: SamplerConfig(sampler.name, schedule=schedule)) == possible
    assert accepted(lambda: SamplerConfig(sampler.name, end_of_text="late")) == sampler.ranks
    for process in ("absorbing", "uniform"):
        fits = sampler in of_process(process)
        assert accepted(lambda process=process: check_process(SamplerConfig(sampler.name), process, "x")) == fits
    few = all_masks(12)
    needs = 6 if sampler.paced == BY_CLOCK else 1
    for steps in (1, 5, 6, 7):
        enough = accepted(lambda steps=steps: clock_of(few, sampler=sampler.name, block_length=2, steps=steps))
        assert enough == (steps >= needs)


def accepted(make) -> bool:
    try:
        make()
    except InputError:
        return False
    return True
