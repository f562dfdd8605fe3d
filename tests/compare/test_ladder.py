"""The steps ladder: rungs as measured by hand, progress, and what a stop leaves."""

import pytest

from ddemo import runs
from ddemo.compare.ladder import climb
from ddemo.errors import InputError
from ddemo.measures import measured
from ddemo.sampling import SamplerConfig

TEXT = "The old sailor [MASK:6] into the sea."


def test_a_rung_is_what_its_texts_measure(tiny):
    *_, ladder = climb(tiny, [TEXT], {"seed": 3}, steps=(2, 5), seeds=2)
    assert [rung.steps for rung in ladder.rungs] == [2, 5]
    for rung in ladder.rungs:
        lanes = []
        for config in (
            SamplerConfig(steps=rung.steps, draw="argmax", seed=3),
            SamplerConfig(steps=rung.steps, seed=3),
            SamplerConfig(steps=rung.steps, seed=4),
        ):
            trace = runs.begin(tiny, TEXT, 0, config)
            list(runs.carry_out(tiny, trace))
            lanes.append(trace)
        expected = measured(tiny, lanes, {"argmax": [0], "samples": [1, 2]})
        for group, values in expected.groups.items():
            kept = {name: value for name, value in rung.groups[group].items() if name != "seconds"}
            assert kept == {name: value for name, value in values.items() if name != "seconds"}
        assert rung.groups["samples"]["bits_per_character"].error > 0
        assert rung.groups["argmax"]["bits_per_character"].error is None


def test_several_prompts_give_argmax_an_error_too(tiny):
    *_, ladder = climb(tiny, [TEXT, "It was [MASK:4] when she came."], {}, steps=(2,), seeds=1)
    values = ladder.rungs[0].groups
    assert values["argmax"]["bits_per_character"].error > 0 and values["samples"]["nfe"].number == 2


def test_it_ends_where_more_steps_write_the_same(tiny):
    *_, ladder = climb(tiny, [TEXT], {}, steps=(4, 6, 8, 16), seeds=1)
    assert [rung.steps for rung in ladder.rungs] == [4, 6]  # six masks
    *_, ladder = climb(tiny, [TEXT], {"sampler": "remdm-cap"}, steps=(8, 16), seeds=1)
    assert [rung.steps for rung in ladder.rungs] == [8, 16]


def test_progress_rises_to_the_end(tiny):
    seen = []
    for ladder in climb(tiny, [TEXT], {}, steps=(2, 3), seeds=1):
        seen.append((ladder.done, ladder.all, ladder.doing, len(ladder.rungs)))
    done = [item[0] for item in seen]
    assert done == sorted(done) and done[-1] == seen[-1][1] == 2 + 2 + 3 + 2
    assert seen[0][2] == "2 steps" and seen[-1][2] == ""


@pytest.mark.parametrize("answers", [1, 2, 3, 4, 5, 6, 7])
def test_a_stop_keeps_the_rungs_that_are_finished(tiny, answers):
    left = iter([False] * (answers - 1))
    *_, ladder = climb(tiny, [TEXT], {}, steps=(1, 2), seeds=1, stopped=lambda: next(left, True))
    whole = [rung.groups["samples"]["bits_per_character"].number is not None for rung in ladder.rungs]
    assert all(whole) and len(whole) < 2 and ladder.doing == ""


def test_a_stop_after_a_rung_keeps_that_rung(tiny):
    finished = []
    for ladder in climb(tiny, [TEXT], {}, steps=(1, 2), seeds=1, stopped=lambda: bool(finished)):
        finished.extend(ladder.rungs)
    assert [rung.steps for rung in ladder.rungs] == [1] and ladder.doing == ""


def test_what_has_no_ladder_says_so(tiny):
    with pytest.raises(InputError, match="has no ladder"):
        list(climb(tiny, [TEXT], {"sampler": "threshold"}))
    with pytest.raises(InputError, match="never draws"):
        list(climb(tiny, [TEXT], {"sampler": "plug-in"}))
    with pytest.raises(InputError, match="There is nothing to fill"):
        list(climb(tiny, ["no mask in here"], {}, length=0))
