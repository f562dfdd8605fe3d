"""The lanes of each question: what they share, what they differ in, and what they are called."""

import pytest

from ddemo.compare import MOST_LANES, QUESTIONS, questions_for
from ddemo.compare.questions import TEMPERATURES
from ddemo.errors import InputError
from ddemo.sampling import SAMPLERS
from ddemo.settings import Usual

PROCESSES = ("absorbing", "uniform", "gaussian")
COMPANIONS = {
    process: {
        name: Usual.of(noise) for name, noise in (("own", process), ("words", "uniform"), ("masks", "absorbing"))
    }
    for process in PROCESSES
}


def noise_of(plan, process):
    return COMPANIONS[process][plan.checkpoint].process if plan.checkpoint else process


def configs(name, settings=None, process="absorbing", most=None):
    return [plan.config for plan in QUESTIONS[name].plans(settings or {}, process, most)]


@pytest.mark.parametrize("process", PROCESSES)
def test_every_question_has_lanes_that_can_run_and_have_names_of_their_own(process):
    for question in questions_for(process).values():
        plans = question.plans({"seed": 5}, process, companions=COMPANIONS[process] if question.across else {})
        assert 2 <= len(plans) <= MOST_LANES
        assert len({plan.label for plan in plans}) == len(plans)
        for plan in plans:
            assert plan.config is not None and not plan.problem, plan
            assert noise_of(plan, process) in SAMPLERS[plan.config.sampler].processes
            assert SAMPLERS[plan.config.sampler].title == plan.about[0]


def test_argmax_stands_beside_samples_that_differ_in_their_seed_alone():
    argmax, *samples = configs("argmax", {"seed": 7, "temperature": 0.8, "steps": 12})
    assert argmax.deterministic and argmax.seed == 7
    assert [sample.seed for sample in samples] == [7, 8, 9, 10]
    for sample in samples:
        same = {name for name, value in sample.as_dict().items() if argmax.as_dict()[name] == value}
        assert set(sample.as_dict()) - same <= {"seed", "draw"}
        assert not sample.greedy
    plans = QUESTIONS["argmax"].plans({"seed": 7}, "absorbing", 4)
    assert [plan.group for plan in plans] == ["argmax", "samples", "samples", "samples"]


def test_each_noise_is_run_with_its_own_sampler_and_what_it_shares():
    usual = {"b": Usual.of("uniform", {"temperature": 0.7}), "c": Usual.of("gaussian")}
    companions = {"a": Usual.of("absorbing"), **usual, "d": Usual.of("absorbing", {"sampler": "ancestral"})}
    given = {"sampler": "p2", "eta": 0.5, "steps": 7, "seed": 3, "block_length": 8}
    plans = QUESTIONS["noises"].plans(given, "absorbing", companions=companions)
    assert [plan.checkpoint for plan in plans] == list(companions)
    assert [plan.config.sampler for plan in plans] == ["p2", "uniform-ancestral", "ddpm", "p2"]
    assert all((plan.config.steps, plan.config.seed) == (7, 3) for plan in plans)
    assert plans[0].config.eta == 0.5 and plans[0].config == plans[3].config
    assert plans[1].label == "b, out of random words" and plans[1].config.temperature == 0.7
    with pytest.raises(InputError, match="No other checkpoint here has the same tokens"):
        QUESTIONS["noises"].plans(given, "absorbing", companions={"a": Usual.of("absorbing")})


def test_a_run_that_was_greedy_is_compared_with_one_that_draws():
    for greedy in ({"draw": "argmax"}, {"temperature": 0}, {"top_k": 1}):
        argmax, sample = configs("argmax", greedy, most=2)
        assert argmax.greedy and not sample.greedy
    with pytest.raises(InputError, match="never draws a token"):
        configs("argmax", {"sampler": "plug-in"})


def test_argmax_in_random_order_is_not_called_argmax():
    assert QUESTIONS["argmax"].plans({"sampler": "ancestral"}, "absorbing")[0].label == "argmax draw, random order"
    assert QUESTIONS["argmax"].plans({"sampler": "confidence"}, "absorbing")[0].label == "argmax"


def test_what_deterministic_means_has_each_meaning_once():
    plans = QUESTIONS["argmaxes"].plans({"sampler": "ancestral", "schedule": "cosine"}, "absorbing")
    found = [(plan.config.sampler, plan.config.greedy, plan.config.deterministic) for plan in plans]
    assert found == [
        ("confidence", True, True),
        ("ancestral", True, False),
        ("posterior-argmax", True, True),
        ("plug-in", True, False),
        ("ancestral", False, False),
    ]
    assert "argmaxes" not in questions_for("uniform")


def test_temperatures_share_their_random_numbers():
    found = configs("temperature", {"seed": 3, "draw": "argmax"})
    assert [config.temperature for config in found] == list(TEMPERATURES)
    assert {config.seed for config in found} == {3}
    assert found[0].greedy and not any(config.greedy for config in found[1:])


def test_other_samplers_keep_what_they_share_and_their_own_defaults_for_the_rest():
    found = {c.sampler: c for c in configs("samplers", {"sampler": "ancestral", "schedule": "cosine", "top_p": 0.9})}
    assert found["ancestral"].schedule == "cosine"
    assert found["remdm-cap"].schedule == SAMPLERS["remdm-cap"].knob("schedule").default != "cosine"
    assert {config.top_p for config in found.values()} == {0.9}
    assert len(found) == 7


def test_steps_differ_in_nothing_else():
    found = configs("steps", {"seed": 2})
    assert [config.steps for config in found] == [4, 8, 16, 32, 64, 128]
    assert len({tuple((config.as_dict() | {"steps": 0}).items()) for config in found}) == 1
    with pytest.raises(InputError, match="as many steps as the text needs"):
        configs("steps", {"sampler": "first-hitting"})


def test_a_lane_that_cannot_be_says_so_and_leaves_the_others():
    plans = QUESTIONS["samplers"].plans({"end_of_text": "late"}, "absorbing")
    broken = [plan for plan in plans if plan.config is None]
    assert broken and all("does not rank" in plan.problem for plan in broken)
    assert any(plan.config is not None for plan in plans)


@pytest.mark.parametrize("most", [0, MOST_LANES + 1, 2.0, "4", True])
def test_a_number_of_lanes_out_of_range_is_refused(most):
    with pytest.raises(InputError, match=f"from 1 to {MOST_LANES}"):
        QUESTIONS["argmax"].plans({}, "absorbing", most)


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"sampler": "nonsense"}, "^sampler must be one of"),
        ({"sampler": 3}, "^sampler must be one of"),
        ({"colour": 1}, "no setting called 'colour'"),
        ({"seed": -1}, "^seed must be a whole number"),
        ({"steps": "many"}, "^steps must be a number"),
    ],
)
def test_bad_settings_are_refused_for_every_question(settings, says):
    for question in QUESTIONS.values():
        with pytest.raises(InputError, match=says):
            question.plans(settings, "absorbing")


def test_a_question_has_no_more_lanes_than_asked_for():
    assert len(configs("argmax", most=MOST_LANES)) == MOST_LANES
    assert len(configs("seeds", most=3)) == len(configs("temperature", most=3)) == 3
    assert [config.greedy for config in configs("argmax", most=1)] == [True]


def test_latents_are_clamped_or_not_with_and_without_new_noise():
    found = configs("clamp", {"seed": 3, "steps": 9, "eta": 0.5, "sampler": "ddim"}, "gaussian")
    assert [(config.sampler, config.clamp) for config in found] == [
        ("ddpm", "off"), ("ddpm", "nearest"), ("ddim", "off"), ("ddim", "nearest"),
    ]  # fmt: skip
    assert {(config.seed, config.steps) for config in found} == {(3, 9)} and found[2].eta == 0.5
    assert "clamp" not in questions_for("uniform")


def test_no_argmax_is_spoken_of_where_no_token_is_drawn():
    plans = [plan for name in ("argmax", "temperature") for plan in QUESTIONS[name].plans({}, "gaussian")]
    assert not any("argmax" in " ".join((plan.label, *plan.about)) for plan in plans)
    assert plans[0].label == "the likeliest word alone" and plans[0].config.greedy
