"""Which step is where: clocks, blocks and times against their definitions."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.errors import InputError
from ddemo.processes import SCHEDULES
from ddemo.sampling import SAMPLERS, Clock, Lane, SamplerConfig, fresh_clock
from ddemo.sampling.clock import Plan, blocks_of, clock_from
from ddemo.sampling.samplers.definition import BY_CLOCK, BY_STATE
from tests.sampling.drive import MASK, SAMPLED, all_masks, canvas_of, fresh, noised, random_canvas

SHAPES = st.integers(1, 6).flatmap(lambda blocks: st.tuples(st.just(blocks), st.integers(1, 5)))


def plan_of(lane: Lane, fake) -> Plan:
    return Plan(lane, fake)


def paced(how: str) -> list[str]:
    return [name for name, sampler in SAMPLERS.items() if sampler.paced == how and "absorbing" in sampler.processes]


@pytest.mark.parametrize("name, process", SAMPLED)
def test_a_fresh_clock_runs_from_1_for_all_its_steps(name, process):
    canvas, sampler = noised(random_canvas(20, 3), process), SAMPLERS[name]
    clock = fresh_clock(canvas, SamplerConfig(name, steps=7), MASK)
    masks = len(canvas.masks(MASK))
    assert clock == Clock(0, masks if sampler.paced == BY_STATE else 7 + sampler.extra_steps, 1.0)


@given(SHAPES, st.integers(0, 9), st.sampled_from(paced(BY_CLOCK)))
@settings(max_examples=60, deadline=None)
def test_blocks_share_out_the_steps_in_order(make_fake, shape, more, name):
    """Every block has its own run from 1 to 0; the first ones take the steps that are left over."""
    blocks, length = shape
    sampler, steps = SAMPLERS[name], blocks + more
    lane = fresh(all_masks(blocks * length), SamplerConfig(name, steps=steps, block_length=length))
    plan = plan_of(lane, make_fake())
    each, left_over = divmod(steps + sampler.extra_steps * blocks, blocks)
    expected = [(block, i) for block in range(blocks) for i in range(each + (block < left_over))]
    assert lane.clock.last == len(expected)
    for step, (block, index) in enumerate(expected):
        stage = plan.stage(step, lane.tokens, 1.0)
        count = each + (block < left_over)
        in_block = stage.open.nonzero()[:, 0].tolist()
        assert in_block == list(range(block * length, (block + 1) * length)) or blocks == 1
        assert (stage.index, stage.steps) == (index, count)
        assert (stage.t, stage.s) == (sampler.grid(index, count), sampler.grid(index + 1, count))
    assert plan.done(len(expected), lane.tokens) and not plan.done(len(expected) - 1, lane.tokens)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 32, 1024])
def test_a_grid_runs_from_1_to_0(name, steps):
    sampler = SAMPLERS[name]
    count = steps + sampler.extra_steps
    grid = [sampler.grid(index, count) for index in range(count + 1)]
    assert grid[0] == 1.0 and grid[-1] == 0.0
    assert all(t > s for t, s in pairwise(grid))


@given(SHAPES)
@settings(max_examples=25, deadline=None)
def test_blocks_are_the_masks_from_left_to_right(shape):
    blocks, length = shape
    canvas = random_canvas(3 * blocks * length, blocks + 7 * length, share=0.5)
    masks = canvas.masks(MASK)
    found = blocks_of(canvas, SamplerConfig(block_length=length), False, MASK)
    assert [block.nonzero()[:, 0].tolist() for block in found] == [part.tolist() for part in masks.split(length)]
    assert torch.equal(torch.stack(found).sum(0).bool(), canvas.tokens == MASK)


@pytest.mark.parametrize("may_rewrite", [True, False])
def test_one_block_is_what_the_sampler_may_change(may_rewrite):
    canvas = random_canvas(20, 1, share=0.4, held=0.5)
    for config in (SamplerConfig(), SamplerConfig(block_length=20)):
        (block,) = blocks_of(canvas, config, may_rewrite, MASK)
        assert torch.equal(block, ~canvas.fixed if may_rewrite else canvas.tokens == MASK)


@pytest.mark.parametrize("name", [name for name in paced(BY_STATE) if not SAMPLERS[name].hits])
def test_the_canvas_tells_the_time_of_samplers_that_it_paces(make_fake, name):
    lane = fresh(all_masks(8), SamplerConfig(name, block_length=4))
    plan, tokens = plan_of(lane, make_fake()), lane.tokens.clone()
    for filled, (block, t) in {0: (0, 1.0), 3: (0, 0.25), 4: (1, 1.0), 6: (1, 0.5)}.items():
        tokens[:filled] = 1
        stage = plan.stage(filled, tokens, 0.77)
        assert (stage.t, stage.s, stage.index, stage.size) == (t, None, filled % 4, 4)
        assert stage.open.nonzero()[:, 0].tolist() == list(range(4 * block, 4 * block + 4))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_hitting_times_fall_within_a_block_and_begin_anew_with_the_next(make_fake, schedule):
    lane = fresh(all_masks(8), SamplerConfig("first-hitting", block_length=4, schedule=schedule))
    plan, tokens, time, times = plan_of(lane, make_fake()), lane.tokens.clone(), 1.0, []
    for step in range(8):
        stage = plan.stage(step, tokens, time)
        assert stage.t == stage.s and plan.stage(step, tokens, time).t == stage.t  # asked twice, the same
        assert 0.0 <= stage.t <= (1.0 if step == 4 else time)
        tokens[step], time = 1, stage.s
        times.append(time)
    assert len(set(times)) > 6


def test_which_lane_and_seed_decide_a_hitting_time(make_fake):
    def hit(seed, number):
        lane = fresh(all_masks(4), SamplerConfig("first-hitting", seed=seed), number)
        return plan_of(lane, make_fake()).stage(0, lane.tokens, 1.0).t

    assert len({hit(seed, number) for seed in range(5) for number in range(5)}) == 25


@pytest.mark.parametrize("name, process", SAMPLED)
def test_a_run_is_over_at_its_last_step_or_when_no_mask_may_come_back(make_fake, name, process):
    canvas = noised(random_canvas(12, 2), process)
    lane = fresh(canvas, SamplerConfig(name, steps=5))
    plan = plan_of(lane, make_fake(process=process))
    full = lane.tokens.masked_fill(lane.tokens == MASK, 1)
    assert plan.done(lane.clock.last, lane.tokens) and not plan.done(0, lane.tokens)
    assert plan.done(2, full) != SAMPLERS[name].may_rewrite(process)


@given(st.integers(1, 40), st.integers(0, 9), st.integers(0, 30), st.sampled_from(list(SAMPLERS)))
@settings(max_examples=60, deadline=None)
def test_a_clock_after_edits_has_a_step_for_every_block(masks, length, steps, name):
    """The masks that are left need not divide into blocks then."""
    config, sampler = SamplerConfig(name, block_length=length), SAMPLERS[name]
    canvas = canvas_of(torch.tensor([MASK] * masks + [1]))
    clock = clock_from(canvas, config, MASK, 6, 0.4, steps)
    blocks = -(-masks // length) if length else 1
    taken = clock.last - clock.first
    expected = max(steps, blocks) + sampler.extra_steps * blocks
    assert (clock.first, clock.start, taken) == (6, 0.4, masks if sampler.paced == BY_STATE else expected)


@pytest.mark.parametrize("masks, length, better", [(10, 4, 2), (7, 3, 1), (12, 5, 4), (9, 10, 9), (1, 2, 1)])
def test_the_block_length_that_is_offered_instead_divides(masks, length, better):
    with pytest.raises(InputError, match=f"divide the {masks} masks, which {length} does not: take {better},"):
        fresh_clock(all_masks(masks), SamplerConfig(block_length=length), MASK)
    assert masks % better == 0 and better < length
    fresh_clock(all_masks(masks), SamplerConfig(block_length=better), MASK)
