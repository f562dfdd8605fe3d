"""The table of samplers: what page, API, command line and documentation read. The steps have their own tests."""

import inspect

import pytest
import torch

from ddemo.denoisers.exact_world import ExactWorldDenoiser
from ddemo.sampling import SAMPLERS, Lane, SamplerConfig, from_noise
from ddemo.sampling.samplers import KNOBS, of_process
from tests.sampling.laws import masks, run_to_the_end, small_world, words_only

EVERY = pytest.mark.parametrize("name", SAMPLERS)
BOTH = [(sampler.name, process) for process in ("absorbing", "uniform") for sampler in of_process(process)]


@EVERY
def test_a_definition_says_all_that_people_want_to_know(name):
    sampler = SAMPLERS[name]
    assert name == sampler.name == SamplerConfig(sampler=name).sampler
    assert sampler.title and sampler.group and sampler.sentence.endswith(".") and "arXiv" in sampler.source
    assert sampler.processes and set(sampler.processes) <= {"absorbing", "uniform", "gaussian"}
    for step in sampler.steps.values():
        assert "Source:" in step.__doc__
        assert list(inspect.signature(step).parameters) == ["turn"]


@EVERY
def test_knobs_have_defaults_that_they_would_take(name):
    config, sampler = SamplerConfig(sampler=name), SAMPLERS[name]
    for knob in sampler.knobs:
        assert getattr(config, knob.name) == knob.default and knob.label and knob.sentence
        assert knob.default in knob.choices if knob.choices else knob.low <= knob.default <= knob.high
    unread = set(KNOBS) - set(sampler.defaults())
    assert all(getattr(config, other) is None for other in unread)


def test_every_title_is_its_own():
    assert len({sampler.title for sampler in SAMPLERS.values()}) == len(SAMPLERS)


def test_published_defaults():
    assert {name: SAMPLERS[name].defaults() for name in SAMPLERS if name.startswith("remdm")} == {
        "remdm-cap": {"schedule": "linear", "eta": 0.008},
        "remdm-rescale": {"schedule": "linear", "eta": 0.015},
        "remdm-conf": {"schedule": "linear", "eta": 1.0},
        "remdm-loop": {"eta": 0.02, "t_on": 0.55, "t_off": 0.05, "alpha_on": 0.9},
    }
    assert SAMPLERS["maskgit"].defaults() == {"order_temperature": 4.5, "mask_schedule": "cosine"}
    assert SAMPLERS["p2"].defaults() == {"eta": 1.0, "planner": "self"}
    assert SAMPLERS["threshold"].defaults() == {"threshold": 0.9} and SAMPLERS["factor"].defaults() == {"factor": 1.0}


@pytest.mark.parametrize("name, process", BOTH)
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_every_sampler_ends_with_a_text(name, process, steps):
    """Of the words of the world, in each of its processes, with the settings as they come."""
    denoiser = ExactWorldDenoiser(small_world(), "one", process)
    rules, canvas = words_only(denoiser), masks(3, denoiser.mask_id)
    lanes = []
    for seed in range(8):
        config = SamplerConfig(sampler=name, steps=steps, seed=seed)
        lane = Lane.fresh(canvas, config, denoiser.mask_id)
        if process == "uniform":
            lane = Lane(from_noise(canvas, denoiser.mask_id, ~rules.never, seed), config, lane.clock)
        lanes.append(lane)
    run_to_the_end(denoiser, lanes, rules)
    assert all((lane.tokens < denoiser.world.size).all() for lane in lanes)
    asked = torch.tensor([lane.nfe for lane in lanes])
    at_most = 3 if SAMPLERS[name].paced == "state" else steps + SAMPLERS[name].extra_steps
    assert ((asked >= 1) & (asked <= at_most)).all()
