"""denoise(), the only loop: what holds for every run, over random canvases, settings and companies of lanes."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ddemo.denoisers import load_checkpoint
from ddemo.errors import InputError
from ddemo.processes import SCHEDULES
from ddemo.sampling import SAMPLERS, Clock, FillRules, Lane, SamplerConfig, denoise, read_text
from ddemo.sampling.samplers import of_process
from ddemo.sampling.samplers.definition import BY_CLOCK, BY_STATE
from tests.sampling.drive import (
    CANVASES,
    COMPANIES,
    COUPLES,
    END,
    MASK,
    RULES,
    SAMPLED,
    all_masks,
    canvas_of,
    canvases_before,
    companies,
    facts,
    fresh,
    noised,
    random_canvas,
    replay,
    resumed,
    run,
    same,
    settings_of,
    with_seed,
)

MANY = settings(max_examples=40, deadline=None)
QUICK = settings(max_examples=25, deadline=None)
ONLY_COMMIT = [sampler.name for sampler in of_process("absorbing") if not sampler.remasks]
EVEN = ["confidence", "random", "left-to-right"]  # the same number of masks at each step


@pytest.fixture(scope="module")
def watched(make_fake):
    """A fake denoiser that checks its orders and keeps them: (tokens, times, wanted) of each row, call by call."""

    class Watched(make_fake):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.asked: list[list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]] = []

        def __call__(self, tokens, times, lengths, wanted):
            assert tokens.dtype == lengths.dtype == torch.int64 and wanted.dtype == torch.bool
            assert times.is_floating_point() and ((times >= 0) & (times <= 1)).all()
            assert tokens.shape == wanted.shape == times.shape and len(lengths) == len(tokens)
            assert tokens.shape[1] == int(lengths.max()) and wanted.any(-1).all()
            assert not (wanted & (torch.arange(tokens.shape[1]) >= lengths[:, None])).any()
            cut = zip(tokens, times, wanted, lengths.tolist(), strict=True)
            self.asked.append([(row[:n].clone(), time[:n].clone(), want[:n].clone()) for row, time, want, n in cut])
            return super().__call__(tokens, times, lengths, wanted)

    return Watched


def calls_a_step(canvas, config) -> int:
    return 2 if config.guidance and bool(canvas.fixed.any()) else 1


def may_rewrite(lane, process: str) -> bool:
    return SAMPLERS[lane.config.sampler].may_rewrite(process)


# ---------------------------------------------------------------- every run


@given(COMPANIES)
@MANY
def test_what_holds_for_every_run(make_fake, company):
    lanes = company.lanes()
    for lane, frames in zip(lanes, run(company.denoiser(make_fake), lanes), strict=True):
        canvas, config, sampler = lane.canvas, lane.config, SAMPLERS[lane.config.sampler]
        assert torch.equal(replay(canvas, frames), lane.tokens)  # frames say all that happened
        assert torch.equal(lane.tokens[canvas.fixed], canvas.tokens[canvas.fixed])
        assert not (lane.tokens == MASK).any() and ((lane.tokens >= 0) & (lane.tokens < MASK)).all()
        assert [frame.step for frame in frames] == list(range(1, len(frames) + 1)) and lane.step == len(frames)
        assert 0 < len(frames) <= lane.clock.last and lane.clock == lane.clock.__class__(0, lane.clock.last)
        for before, frame in zip(canvases_before(canvas, frames), frames, strict=True):
            written = torch.from_numpy(frame.written).long()
            assert (written[1:] > written[:-1]).all()
            assert (before[written] != torch.from_numpy(frame.tokens)).all()  # only what changed
            assert not canvas.fixed[written].any()
            if company.process == "absorbing":  # else noise may have put there what the model rules out
                after_end = (frame.tokens == END) & (config.end_of_text == "stop")
                assert ((frame.chosen > 0) | (frame.tokens == MASK) | after_end).all()
            assert not frame.chosen[frame.tokens == MASK].any()
            if not sampler.may_rewrite(company.process):
                assert MASK not in frame.tokens
                assert (before[written] == MASK).all() or config.end_of_text == "stop"
        assert frames[-1].nfe == lane.nfe == calls_a_step(canvas, config) * sum(frame.fresh for frame in frames)
        assert [frame.nfe for frame in frames] == sorted(frame.nfe for frame in frames)
        if not sampler.may_rewrite(company.process) and config.end_of_text != "stop":
            written = [position for frame in frames for position in frame.written.tolist()]
            assert sorted(written) == canvas.masks(MASK).tolist()  # each once


@given(COMPANIES)
@QUICK
def test_times_run_down_from_1(make_fake, company):
    lanes = company.lanes()
    for lane, frames in zip(lanes, run(company.denoiser(make_fake), lanes), strict=True):
        sampler, config = SAMPLERS[lane.config.sampler], lane.config
        hits = sampler.hits
        assert hits or frames[0].t == 1.0
        assert all(1.0 >= frame.t >= frame.s >= 0.0 for frame in frames)
        assert hits or all(frame.t > frame.s for frame in frames) or config.end_of_text == "stop"
        for frame, after in pairwise(frames):
            in_one_block = not config.block_length
            assert not in_one_block or (after.t <= frame.s if hits else after.t == frame.s)
        if len(frames) == lane.clock.last and not hits:
            assert frames[-1].s == 0.0
        if sampler.paced == BY_CLOCK and not config.block_length:
            grid = [sampler.grid(index, lane.clock.last) for index in range(lane.clock.last + 1)]
            assert [frame.t for frame in frames] == grid[: len(frames)] and frames[-1].s == grid[len(frames)]


@given(COMPANIES)
@QUICK
def test_the_denoiser_is_told_how_noised_each_position_is(watched, company):
    """A fixed token is clean; the rest is as the sampler's schedule says, else the share of the block masked."""
    assume(not any(config.block_length for _, config, _ in company.starts))
    for start in company.starts:
        fake, lane = watched(process=company.process, takes_time=True), fresh(*start)
        frames = run(fake, [lane])[0]
        sampler, config, free = SAMPLERS[lane.config.sampler], lane.config, ~lane.canvas.fixed
        told = iter([rows[0] for rows in fake.asked])
        for before, frame in zip(canvases_before(lane.canvas, frames), frames, strict=True):
            if not frame.fresh:
                assert not (before == MASK).any() and not sampler.reads_free(company.process)
                continue
            tokens, times, _ = next(told)
            assert torch.equal(tokens, before) and not times[lane.canvas.fixed].any()
            size = int(free.sum() if sampler.may_rewrite(company.process) else (lane.canvas.tokens == MASK).sum())
            expected = int((before == MASK).sum()) / size
            if config.schedule:
                alpha = sampler.floor + (1 - sampler.floor) * SCHEDULES[config.schedule].alpha(frame.t)
                expected = 1 - alpha
            assert times[free].tolist() == pytest.approx([expected] * int(free.sum()), abs=1e-6)
        assert next(told, None) is None


@given(COMPANIES)
@QUICK
def test_what_a_frame_says_of_the_belief(make_fake, company):
    company = replace(company, takes_time=False)
    fake, lanes = company.denoiser(make_fake), company.lanes()
    for lane, frames in zip(lanes, run(fake, lanes), strict=True):
        canvas, config = lane.canvas, lane.config
        for tokens, frame in zip(canvases_before(canvas, frames), frames, strict=True):
            p = believed(fake, canvas, config, tokens)  # [L, V]
            if frame.fresh:
                positions, k = torch.from_numpy(frame.positions).long(), min(config.candidates, fake.vocab_size)
                if not config.block_length:
                    free = SAMPLERS[config.sampler].reads_free(company.process)
                    assert positions.tolist() == (~canvas.fixed if free else tokens == MASK).nonzero()[:, 0].tolist()
                assert frame.ids.shape == frame.probabilities.shape == (len(positions), k)
                close, q = {"rtol": 1e-4, "atol": 1e-6}, p[positions]
                torch.testing.assert_close(torch.from_numpy(frame.probabilities).double(), q.topk(k).values, **close)
                entropy = -torch.special.xlogy(q, q).sum(-1)
                torch.testing.assert_close(torch.from_numpy(frame.entropy).double(), entropy, rtol=1e-3, atol=1e-5)
            else:
                assert frame.entropy.shape == (0,) and frame.ids.size == frame.probabilities.size == 0
            told = p[frame.written, frame.tokens].numpy() * (frame.tokens != MASK)
            drawn = frame.chosen > 0  # what was put there after the end of the text was not drawn
            np.testing.assert_allclose(frame.chosen[drawn], told[drawn], rtol=1e-4, atol=1e-6)


def believed(fake, canvas, config, tokens) -> torch.Tensor:
    """[L, V] float64: p(x0 | x_t) by the definitions, before temperature; guided where the settings say so."""

    def logits(row):
        everywhere = torch.ones(1, len(row), dtype=torch.bool)
        return fake.logits(row[None], everywhere, torch.zeros(1, len(row))).double()

    guided = logits(tokens)
    if calls_a_step(canvas, config) == 2:
        alone = logits(tokens.masked_fill(canvas.fixed, MASK))
        guided = alone + (config.guidance + 1) * (guided - alone)
    guided[:, MASK] = -torch.inf
    if config.end_of_text == "suppress":
        guided[:, END] = -torch.inf
    return guided.softmax(-1)


# ---------------------------------------------------------------- function evaluations


@given(COMPANIES)
@QUICK
def test_nfe_is_the_number_of_rows_asked(watched, company):
    fake, lanes = company.denoiser(watched), company.lanes()
    turns = list(denoise(fake, lanes, RULES))
    assert fake.calls == sum(any(frame.fresh for _, frame in turn) for turn in turns)  # one pass a turn for all
    assert fake.rows == sum(lane.nfe for lane in lanes) > 0
    for start in company.starts:
        alone, lane = company.denoiser(watched), fresh(*start)
        run(alone, [lane])
        assert lane.nfe == alone.rows


@given(COMPANIES)
@QUICK
def test_only_a_changed_canvas_or_the_time_needs_a_call(make_fake, company):
    lanes = company.lanes()
    for lane, frames in zip(lanes, run(company.denoiser(make_fake), lanes), strict=True):
        canvas, config, free = lane.canvas, lane.config, may_rewrite(lane, company.process)
        for index, (tokens, frame) in enumerate(zip(canvases_before(canvas, frames), frames, strict=True)):
            changed = index == 0 or company.takes_time or len(frames[index - 1].written) > 0
            if config.block_length:
                assert changed or frame.t == 1.0 or not frame.fresh  # a block begins at 1
            elif SAMPLERS[config.sampler].reads_free(company.process):
                assert frame.fresh == changed
            else:
                assert frame.fresh == (changed and bool((tokens == MASK).any()))
                assert free or (tokens == MASK).any()  # else the run would have been over


def test_an_unchanged_canvas_needs_no_call(watched):
    fake, lane = watched(), fresh(all_masks(2), SamplerConfig("ancestral", steps=50))
    frames = run(fake, [lane])[0]
    idle = [frame for frame in frames if not len(frame.written)]
    assert idle and fake.calls < len(frames)
    assert fake.calls == lane.nfe <= 2
    reader = watched(takes_time=True)
    assert len(run(reader, [fresh(all_masks(2), lane.config)])[0]) == len(frames) == reader.calls


@pytest.mark.parametrize("name, process", SAMPLED)
def test_guidance_makes_two_calls_where_there_is_a_prompt(watched, name, process):
    if process == "uniform":
        lane = fresh(noised(random_canvas(9, 1), process), SamplerConfig(name, guidance=1.0))
        assert run(watched(process=process), [lane], may_fail=True) == [[]]
        assert isinstance(lane.failure, InputError) and "guidance must be 0" in str(lane.failure)
        return
    for canvas, calls in ((random_canvas(12, 1), 2), (all_masks(12), 1)):
        config = SamplerConfig(name, steps=4, guidance=2.0, end_of_text="suppress")
        fake, lane = watched(), fresh(canvas, config)
        frames = run(fake, [lane])[0]
        assert fake.rows == lane.nfe == calls * sum(frame.fresh for frame in frames)
        assert fake.calls == sum(frame.fresh for frame in frames)  # both in one pass
        for rows in fake.asked:
            assert len(rows) == calls
            with_prompt, without = rows[0], rows[-1]
            assert torch.equal(without[0], with_prompt[0].masked_fill(canvas.fixed, MASK))
            assert torch.equal(without[2], with_prompt[2]) and torch.equal(without[1], with_prompt[1])


def test_guidance_of_nothing_is_none(make_fake):
    canvas, config = random_canvas(12, 1), SamplerConfig(steps=4, guidance=0.0)
    plain = run(make_fake(), [fresh(canvas, config)])[0]
    barely = run(make_fake(), [fresh(canvas, replace(config, guidance=1e-12))])[0]
    assert [frame.tokens.tolist() for frame in plain] == [frame.tokens.tolist() for frame in barely]
    assert barely[-1].nfe == 2 * plain[-1].nfe


def test_guidance_moves_towards_what_the_prompt_makes_likely(make_fake):
    """Logits that are 1 higher for token 3 after the prompt's token 7: odds of e^(1 + w) with guidance w."""

    class Prompted(make_fake):
        def logits(self, tokens, wanted, times):
            rows, _ = wanted.nonzero(as_tuple=True)
            flat = torch.zeros(len(rows), self.vocab_size)
            flat[:, 3] = (tokens[rows, 0] == 7).float()
            return flat

    for guidance in (0.0, 0.5, 3.0):
        lane = fresh(canvas_of(torch.tensor([7, MASK])), SamplerConfig(guidance=guidance, steps=1, candidates=2))
        (frame,) = run(Prompted(), [lane])[0]
        ids, (first, second) = frame.ids[0].tolist(), frame.probabilities[0].tolist()
        assert ids[0] == 3 and first / second == pytest.approx(np.exp(1 + guidance), rel=1e-5)


def test_nothing_to_do_makes_no_call(fake):
    done = fresh(canvas_of(torch.tensor([1, 2, 3])), SamplerConfig())
    at_the_end = Lane(canvas_of(torch.tensor([MASK])), SamplerConfig(), Clock(0, 5), step=5)
    cancelled = fresh(canvas_of(torch.tensor([MASK])), SamplerConfig())
    cancelled.cancelled = True
    assert list(denoise(fake, [])) == list(denoise(fake, [done, at_the_end, cancelled])) == []
    assert fake.calls == 0


# ---------------------------------------------------------------- company


@given(companies(most=5))
@MANY
def test_a_lane_does_not_depend_on_its_company(make_fake, company):
    together = run(company.denoiser(make_fake), company.lanes())
    alone = [run(company.denoiser(make_fake), [lane])[0] for lane in company.lanes()]
    assert all(same(one, other) for one, other in zip(together, alone, strict=True))


@given(companies(most=4), st.data())
@QUICK
def test_lanes_join_and_leave_between_turns(make_fake, company, data):
    """`denoise` reads its lanes anew at every turn."""
    undisturbed = run(company.denoiser(make_fake), company.lanes())
    lanes = company.lanes()
    arrivals = [data.draw(st.integers(0, 6)) for _ in lanes]
    arrivals[0] = 0  # the loop ends when nothing is left to do
    present, frames = [lanes[0]], {lane: [] for lane in lanes}
    for turn in range(1000):
        present += [lane for lane, when in zip(lanes, arrivals, strict=True) if when <= turn and lane not in present]
        if turn == 0:
            turns = denoise(company.denoiser(make_fake), present, RULES)
        step = next(turns, None)
        if step is None and len(present) == len(lanes):
            break
        if step is None:
            turns = denoise(company.denoiser(make_fake), present, RULES)
        for lane, frame in step or []:
            frames[lane].append(frame)
    assert all(same(frames[lane], whole) for lane, whole in zip(lanes, undisturbed, strict=True))


@given(COMPANIES, st.integers(0, 3), st.integers(0, 4))
@QUICK
def test_a_cancelled_lane_stops_and_the_others_go_on(make_fake, company, which, after):
    undisturbed = run(company.denoiser(make_fake), company.lanes())
    lanes = company.lanes()
    which %= len(lanes)
    frames = {lane: [] for lane in lanes}
    turns = denoise(company.denoiser(make_fake), lanes, RULES)
    for taken in range(10_000):
        lanes[which].cancelled = taken >= after
        turn = next(turns, None)
        if turn is None:
            break
        for lane, frame in turn:
            frames[lane].append(frame)
    for index, (lane, whole) in enumerate(zip(lanes, undisturbed, strict=True)):
        assert same(frames[lane], whole[:after] if index == which else whole)
    bad = lanes[which]
    assert torch.equal(bad.tokens, replay(bad.canvas, frames[bad])) and bad.failure is None  # usable as it stands


@given(COMPANIES, st.integers(0, 3), st.integers(0, 4))
@QUICK
def test_a_lane_that_the_denoiser_chokes_on_fails_alone(make_fake, company, place, after):
    """Whole passes fail on account of one row's token; the others are asked again without it."""

    class Choking(make_fake):
        def __call__(self, tokens, times, lengths, wanted):
            if bool((lengths == 40).any()):
                self.met = getattr(self, "met", 0) + 1
                if self.met > after:
                    raise RuntimeError("this row is too much")
            return super().__call__(tokens, times, lengths, wanted)

    undisturbed = run(company.denoiser(make_fake), company.lanes())
    lanes = company.lanes()
    config = SamplerConfig("left-to-right", steps=20)
    bad = fresh(noised(random_canvas(40, 5), company.process), replace(config, sampler="uniform-joint"))
    if company.process == "absorbing":
        bad = fresh(random_canvas(40, 5), config)
    all_lanes = [*lanes[:place], bad, *lanes[place:]]
    frames = dict(zip(all_lanes, run(company.denoiser(Choking), all_lanes, may_fail=True), strict=True))
    assert str(bad.failure) == "this row is too much" and len(frames[bad]) == bad.step
    assert bad.nfe == len(frames[bad]) <= after and torch.equal(bad.tokens, replay(bad.canvas, frames[bad]))
    for lane, whole in zip(lanes, undisturbed, strict=True):
        assert lane.failure is None and same(frames[lane], whole)


@pytest.mark.parametrize("name, process", SAMPLED)
def test_a_step_that_raises_ends_its_lane_alone(make_fake, monkeypatch, name, process):
    sampler = SAMPLERS[name]

    def sometimes(turn):
        if turn.config.seed == 7 and turn.step > 2:
            raise ArithmeticError("no such step")
        return sampler.steps[process](turn)

    canvases = [noised(random_canvas(length, length), process) for length in (20, 9, 16)]
    configs = [SamplerConfig(name, seed=seed, steps=6) for seed in (1, 7, 2)]
    undisturbed = run(make_fake(process=process), [fresh(*pair) for pair in zip(canvases, configs, strict=True)])
    monkeypatch.setitem(SAMPLERS, name, replace(sampler, steps={**sampler.steps, process: sometimes}))
    lanes = [fresh(*pair) for pair in zip(canvases, configs, strict=True)]
    frames = run(make_fake(process=process), lanes, may_fail=True)
    assert [str(lane.failure) for lane in lanes] == ["None", "no such step", "None"]
    assert same(frames[0], undisturbed[0]) and same(frames[2], undisturbed[2])
    assert same(frames[1], undisturbed[1][:2]) and len(undisturbed[1]) > 2


def test_a_lane_for_other_noise_fails_alone_and_unasked(watched):
    fake = watched()
    lanes = [fresh(random_canvas(9, 1), SamplerConfig(name)) for name in ("uniform-joint", "confidence")]
    frames = run(fake, lanes, may_fail=True)
    assert isinstance(lanes[0].failure, InputError) and "sampler must be one for absorbing noise" in str(
        lanes[0].failure
    )
    assert frames[0] == [] and same(frames[1], run(watched(), [fresh(random_canvas(9, 1), SamplerConfig())])[0])
    assert all(len(rows) == 1 for rows in fake.asked)


def test_a_denoiser_that_always_fails_ends_all_lanes(make_fake):
    class Broken(make_fake):
        def __call__(self, *_):
            raise MemoryError("none left")

    lanes = [fresh(random_canvas(9, seed), SamplerConfig()) for seed in range(3)]
    assert run(Broken(), lanes, may_fail=True) == [[], [], []]
    assert all(isinstance(lane.failure, MemoryError) and lane.nfe == 0 for lane in lanes)


def test_a_run_can_be_left_at_any_turn(make_fake):
    lane = fresh(random_canvas(20, 1), SamplerConfig(steps=8))
    turns = denoise(make_fake(), [lane])
    frames = [frame for _ in range(3) for _, frame in next(turns)]
    turns.close()
    assert lane.step == 3 and torch.equal(lane.tokens, replay(lane.canvas, frames))
    assert (lane.tokens == MASK).any()


def test_the_canvas_of_a_lane_is_never_written_on(make_fake):
    canvas = random_canvas(20, 4)
    kept = canvas.tokens.clone()
    run(make_fake(), [fresh(canvas, SamplerConfig(name)) for name in ("confidence", "ancestral", "p2")])
    assert torch.equal(canvas.tokens, kept)


def test_a_canvas_taken_between_two_turns_stays_what_it_was(make_fake):
    lane = fresh(random_canvas(20, 4), SamplerConfig(steps=4))
    taken, kept = [], []
    for _ in denoise(make_fake(), [lane]):
        taken.append(lane.tokens)
        kept.append(lane.tokens.tolist())
    assert [tokens.tolist() for tokens in taken] == kept and len({tuple(tokens) for tokens in kept}) == 4


def test_padding_is_never_taken_for_a_mask(make_fake):
    """Rows are padded with 0, which is the mask in some vocabularies."""
    lanes = [
        Lane.fresh(canvas_of(torch.tensor(tokens), mask_id=0), SamplerConfig(steps=2), 0)
        for tokens in ([0, 5], [3, 0, 0, 0, 2, 0])
    ]
    for lane, frames in zip(lanes, run(make_fake(mask_id=0), lanes, rules=None), strict=True):
        masks = len(lane.canvas.masks(0))
        assert len(frames[0].positions) == len(frames[0].entropy) == len(frames[0].ids) == masks
    assert [len(lane.tokens) for lane in lanes] == [2, 6]
    assert not any((lane.tokens == 0).any() for lane in lanes)


# ---------------------------------------------------------------- seeds


@given(COUPLES)
@QUICK
def test_the_same_seed_gives_the_same_run(make_fake, company):
    torch.manual_seed(1)
    first = run(company.denoiser(make_fake), company.lanes())[0]
    torch.manual_seed(2)
    assert same(run(company.denoiser(make_fake), company.lanes())[0], first)


def seeds_tried(make_fake, process: str, canvas, configs, numbers=None) -> int:
    """How many different runs the settings give."""
    seen = set()
    for config, number in zip(configs, numbers or [0] * len(configs), strict=True):
        frames = run(make_fake(process=process), [fresh(canvas, config, number)])[0]
        seen.add(repr([facts(frame) for frame in frames]))
    return len(seen)


@pytest.mark.parametrize("name, process", SAMPLED)
@pytest.mark.parametrize("change", ["seed", "lane"])
def test_another_seed_or_lane_gives_another_run(make_fake, name, process, change):
    """Draws from p, over a canvas large enough that no two of 8 runs agree by chance."""
    canvas, config = noised(random_canvas(30, 3, share=1.0), process), SamplerConfig(name, steps=6)
    configs = [with_seed(config, value) if change == "seed" else config for value in range(8)]
    numbers = list(range(8)) if change == "lane" else None
    assert seeds_tried(make_fake, process, canvas, configs, numbers) == (1 if config.deterministic else 8)


@given(st.sampled_from(SAMPLED), st.data())
@MANY
def test_a_deterministic_run_ignores_the_seed(make_fake, sampled, data):
    name, process = sampled
    canvas = noised(data.draw(CANVASES), process)
    masks = len(canvas.masks(MASK))
    config = data.draw(settings_of(SAMPLERS[name], masks, process))
    greedy = replace(config, draw=data.draw(st.sampled_from(["argmax", config.draw])))
    other = data.draw(st.integers(0, 2**53 - 1))
    if greedy.deterministic:
        assert seeds_tried(make_fake, process, canvas, [greedy, with_seed(greedy, other)]) == 1


ORDERINGS = [{}, {"order_temperature": 0.0}, {"order_temperature": 1.0}, {"planner": "self"}, {"planner": "random"}]


@pytest.mark.parametrize("draw", ["argmax", "sample"])
@pytest.mark.parametrize("name, process", SAMPLED)
def test_the_seed_is_ignored_exactly_where_the_settings_say_so(make_fake, name, process, draw):
    """On a canvas with room for chance, six seeds of what is not called deterministic are not all one run."""
    canvas = noised(all_masks(24), process)
    knobs = SAMPLERS[name].defaults()
    for extra in ORDERINGS:
        if set(extra) <= set(knobs):
            config = SamplerConfig(name, draw=draw, steps=8, **extra)
            runs = seeds_tried(make_fake, process, canvas, [with_seed(config, seed) for seed in range(6)])
            assert (runs == 1) == config.deterministic, extra


def test_no_global_randomness_is_used(make_fake):
    before = torch.get_rng_state()
    for name, process in SAMPLED:
        run(make_fake(process=process), [fresh(noised(random_canvas(20, 4), process), SamplerConfig(name))])
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("name, process", SAMPLED)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_going_on_without_edits_is_the_same_run(make_fake, name, process, data):
    """From the frames alone, at any step, for every sampler and whatever its settings."""
    company = data.draw(companies(process, most=1, names=[name]))
    start = company.starts[0]
    whole = run(company.denoiser(make_fake), [fresh(*start)])[0]
    step = data.draw(st.integers(0, len(whole) - 1))
    lane = resumed(start, whole[:step])
    again, rest = run(company.denoiser(make_fake), [lane])[0], whole[step:]
    # Where the first step had reused the last answer, the branch has to ask for it again.
    asks_again = again[0].fresh and not rest[0].fresh
    reused = ("nfe", "positions", "entropy", "ids", "probabilities") if asks_again else ()
    assert facts(again[0], reused) == facts(rest[0], reused)
    later = ("nfe",) if asks_again else ()
    assert [facts(frame, later) for frame in again[1:]] == [facts(frame, later) for frame in rest[1:]]
    assert again[-1].nfe == rest[-1].nfe + asks_again * calls_a_step(*start[:2])


def test_doubt_at_the_time_of_writing_is_remembered(make_fake):
    """ReMDM masks again what was unlikely when it was written: a run that went on without knowing would differ."""
    start, differ = (all_masks(12), SamplerConfig("remdm-conf", steps=100, eta=1.0, schedule="cosine", seed=4), 0), 0
    whole = run(make_fake(), [fresh(*start)])[0]
    assert any(MASK in frame.tokens for frame in whole)
    for step in range(20, 100, 4):
        knowing, ignorant = resumed(start, whole[:step]), resumed(start, whole[:step])
        ignorant.decoded = torch.ones_like(ignorant.decoded)
        assert torch.equal(replay(start[0], whole[:step] + run(make_fake(), [knowing])[0]), replay(start[0], whole))
        differ += run(make_fake(), [ignorant])[0][-1].nfe != knowing.nfe
    assert differ


# ---------------------------------------------------------------- quotas, blocks


@pytest.mark.parametrize("name", EVEN)
@pytest.mark.parametrize("masks, steps", [(5, 12), (1, 1024), (12, 5), (7, 7), (40, 1)])
def test_steps_beyond_the_masks_end_early(make_fake, name, masks, steps):
    canvas = canvas_of(torch.tensor([MASK] * masks + [3]))
    frames = run(make_fake(), [fresh(canvas, SamplerConfig(name, steps=steps))])[0]
    assert len(frames) == min(masks, steps)
    assert [len(frame.written) for frame in frames] == shares(masks, steps)


def shares(masks: int, steps: int) -> list[int]:
    """How many masks each step fills, the first steps one more; steps beyond the masks are not taken."""
    each, left_over = divmod(masks, steps)
    return [share for share in [each + (step < left_over) for step in range(steps)] if share]


@given(companies("absorbing", most=4, names=EVEN))
@QUICK
def test_uneven_lanes_have_each_their_own_quota(make_fake, company):
    lanes = company.lanes()
    for lane, frames in zip(lanes, run(company.denoiser(make_fake), lanes), strict=True):
        masks, config = len(lane.canvas.masks(MASK)), lane.config
        blocks = masks // config.block_length if config.block_length else 1
        each, left_over = divmod(config.steps, blocks)
        expected = [shares(masks // blocks, each + (block < left_over)) for block in range(blocks)]
        if config.end_of_text != "stop":
            written = [len(frame.written) for frame in frames if len(frame.written)]
            assert written == [share for block in expected for share in block]


@given(companies("absorbing"))
@MANY
def test_blocks_are_filled_in_order(make_fake, company):
    """While a block has its turn nothing else changes, and it is full when the next one begins."""
    company = replace(company, starts=[blocked(start) for start in company.starts])
    lanes = company.lanes()
    for lane, frames in zip(lanes, run(company.denoiser(make_fake), lanes), strict=True):
        blocks = [set(part.tolist()) for part in lane.canvas.masks(MASK).split(lane.config.block_length)]
        turn = 0
        for tokens, frame in zip(canvases_before(lane.canvas, frames), frames, strict=True):
            touched = set(frame.written.tolist()) | set(frame.positions.tolist())
            if len(blocks) == 1 and may_rewrite(lane, "absorbing"):
                continue
            while touched and not touched <= blocks[turn]:
                assert not (tokens[sorted(blocks[turn])] == MASK).any()
                turn += 1  # an IndexError would be a step across blocks
        assert turn == len(blocks) - 1 or may_rewrite(lane, "absorbing")


def blocked(start):
    """The same start in the shortest blocks but one, with enough steps for them."""
    canvas, config, number = start
    masks = len(canvas.masks(MASK))
    length = next((n for n in range(2, masks) if masks % n == 0), 1)
    ends = "allow" if config.end_of_text == "stop" else config.end_of_text
    steps = max(config.steps, masks // length)
    return canvas, replace(config, block_length=length, steps=steps, end_of_text=ends), number


@pytest.mark.parametrize("name, process", [pair for pair in SAMPLED if pair[1] == "absorbing"])
def test_each_block_has_its_share_of_the_steps(make_fake, name, process):
    """Three blocks of four masks and 11 steps: 4, 4 and 3, and a final denoise step for each where there is one."""
    sampler = SAMPLERS[name]
    lane = fresh(all_masks(12), SamplerConfig(name, steps=11, block_length=4))
    frames = run(make_fake(), [lane])[0]
    if sampler.paced == BY_STATE:
        assert lane.clock.last == 12 and len(frames) <= 12
        return
    each = [4 + sampler.extra_steps, 4 + sampler.extra_steps, 3 + sampler.extra_steps]
    assert lane.clock.last == sum(each) and len(frames) <= sum(each)
    starts_at = [frame.step for frame in frames if frame.t == 1.0]
    assert starts_at == [1, 1 + each[0], 1 + each[0] + each[1]]


@given(companies("absorbing", names=["threshold", "factor", "entropy-bounded", "first-hitting"]))
@QUICK
def test_samplers_that_the_canvas_paces_use_each_call(make_fake, company):
    """No step without progress: what they save shows as NFE."""
    lanes = company.lanes()
    for lane, frames in zip(lanes, run(company.denoiser(make_fake), lanes), strict=True):
        assert all(frame.fresh and len(frame.written) for frame in frames)
        assert lane.nfe == len(frames) * calls_a_step(lane.canvas, lane.config)
        if lane.config.sampler == "first-hitting" and lane.config.end_of_text != "stop":
            assert len(frames) == len(lane.canvas.masks(MASK))


# ---------------------------------------------------------------- the end of the text


def ending(make_fake, place: int):
    """A fake that is sure of the end of the text at one position, and nearly rules it out elsewhere."""
    fake = make_fake()
    fake.table[:, :, END] = -9.0
    fake.table[place, :, END] = 30.0
    return fake


@given(companies())
@QUICK
def test_a_suppressed_end_is_never_written(make_fake, company):
    company = replace(company, starts=[(c, replace(o, end_of_text="suppress"), n) for c, o, n in company.starts])
    lanes, fake = company.lanes(), company.denoiser(make_fake)
    fake.table[:, :, END] += 5.0
    for lane, frames in zip(lanes, run(fake, lanes), strict=True):
        assert (lane.tokens[lane.canvas.tokens == MASK] != END).all()
        if company.process == "uniform":  # where noise may consist of it until the last step
            assert (lane.tokens[~lane.canvas.fixed] != END).all()
            continue
        assert all(END not in frame.tokens for frame in frames)
        assert all(END not in frame.ids[frame.probabilities > 0] for frame in frames)


def test_an_end_that_is_allowed_is_written(make_fake):
    lane = fresh(all_masks(10), SamplerConfig(steps=5))
    run(ending(make_fake, 4), [lane])
    assert lane.tokens[4] == END and (lane.tokens[5:] != END).all()


@pytest.mark.parametrize("name", ONLY_COMMIT)
def test_a_run_stops_early_at_the_end_of_the_text(make_fake, name):
    canvas = all_masks(12)
    whole, stopped = (fresh(canvas, SamplerConfig(name, steps=12, end_of_text=end)) for end in ("allow", "stop"))
    frames = run(ending(make_fake, 3), [whole])[0]
    short = run(ending(make_fake, 3), [stopped])[0]
    tokens = [replay(canvas, frames[: index + 1]) for index in range(len(frames))]
    over = next(index for index, row in enumerate(tokens) if row[3] == END and (row[:4] != MASK).all())
    assert len(short) == over + 1 and stopped.nfe <= whole.nfe
    assert torch.equal(stopped.tokens[:4], whole.tokens[:4]) and (stopped.tokens[3:] == END).all()
    assert same(short[:-1], frames[:over])
    assert set(short[-1].written.tolist()) >= set((tokens[over] == MASK).nonzero()[:, 0].tolist())


def test_text_in_order_stops_with_fewer_calls(make_fake):
    lane = fresh(all_masks(12), SamplerConfig("left-to-right", steps=12, end_of_text="stop"))
    assert len(run(ending(make_fake, 3), [lane])[0]) == lane.nfe == 4


@pytest.mark.parametrize("held", [True, False])
def test_text_that_the_visitor_fixed_after_the_end_is_reached(make_fake, held):
    tokens = torch.tensor([MASK] * 8 + [5] + [MASK] * 3)
    canvas = replace(canvas_of(tokens), fixed=(tokens != MASK) & held)
    lane = fresh(canvas, SamplerConfig("left-to-right", steps=11, end_of_text="stop"))
    frames = run(ending(make_fake, 3), [lane])[0]
    assert len(frames) == (11 if held else 4)
    assert lane.tokens[8] == (5 if held else END)


def test_an_end_in_the_prompt_stops_nothing(make_fake):
    canvas = canvas_of(torch.tensor([1, END, MASK, MASK, MASK]))
    lane = fresh(canvas, SamplerConfig("left-to-right", steps=3, end_of_text="stop"))
    fake = ending(make_fake, 60)
    assert len(run(fake, [lane])[0]) == 3 and (lane.tokens[2:] != END).all()


@pytest.mark.parametrize("name", [sampler.name for sampler in of_process("absorbing") if sampler.ranks])
def test_a_late_end_is_kept_only_when_nothing_else_is_left(make_fake, name):
    """Argmax drafts are the frame's first candidates: an end is written only with all that is no end."""
    seen = 0
    for seed in range(6):
        fake, config = make_fake(seed=seed), SamplerConfig(name, draw="argmax", steps=9, end_of_text="late")
        fake.table[:, :, END] += 1.5
        lane = fresh(all_masks(20), config)
        frames = run(fake, [lane])[0]
        for tokens, frame in zip(canvases_before(lane.canvas, frames), frames, strict=True):
            drafts = dict(zip(frame.positions.tolist(), frame.ids[:, 0].tolist(), strict=True))
            words = {at for at, draft in drafts.items() if draft != END and tokens[at] == MASK}
            if END in frame.tokens:
                seen += 1
                assert words <= set(frame.written.tolist())
    assert seen


# ---------------------------------------------------------------- a real network


def test_fixed_text_of_a_real_run_is_kept(tiny):
    canvas = read_text("Naïve  [MASK:4] 👩‍👩‍👧\n[MASK] end ", 0, tiny.codec, 64)
    lane = Lane.fresh(canvas, SamplerConfig(steps=3), tiny.codec.mask_id)
    run(tiny.denoiser, [lane], FillRules.of(tiny.codec))
    text = canvas.with_tokens(lane.tokens).text(tiny.codec)
    assert text.startswith("Naïve  ") and " 👩‍👩‍👧\n" in text and text.endswith(" end ")


@pytest.fixture(scope="module")
def shipped():
    return load_checkpoint("classics-mdm", device="cpu", dtype="float32")


PROMPTS = [
    "The old sailor looked out at the [MASK:6] and said nothing more.",
    "[MASK:3] dark [MASK:4] night; ___",
    "It was in the spring of that year that we first heard of [MASK:9]",
    "[MASK:16]",
]


def hundred_lanes(checkpoint) -> list[Lane]:
    """Seeds 0 to 99 over all samplers of the checkpoint's noise, four texts and changing settings."""
    names = [sampler.name for sampler in of_process("absorbing")]
    canvases = [read_text(text, 0, checkpoint.codec, 64) for text in PROMPTS]
    lanes = []
    for seed in range(100):
        config = SamplerConfig(
            names[seed % len(names)],
            draw="argmax" if seed % 7 == 0 else "sample",
            temperature=1.0 + 0.1 * (seed % 4),
            top_k=(0, 40)[seed % 2],
            top_p=(1.0, 0.9)[seed // 2 % 2],
            steps=2 + seed % 3,
            seed=seed,
            guidance=0.5 * (seed % 10 == 3),
            end_of_text=("allow", "suppress", "stop")[seed % 3],
        )
        canvas = canvases[seed // 2 % len(canvases)]
        lanes.append(Lane.fresh(canvas, config, checkpoint.codec.mask_id, number=seed % 5))
    return lanes


def test_a_real_network_gives_100_lanes_the_same_text_alone_and_in_shuffled_batches(shipped):
    """Float32 on a CPU: lanes of other lengths, samplers and settings beside them change no token."""
    rules, together = FillRules.of(shipped.codec), hundred_lanes(shipped)
    for part in torch.randperm(100, generator=torch.Generator().manual_seed(2)).split(20):
        run(shipped.denoiser, [together[index] for index in part.tolist()], rules)
    for lane, alone in zip(together, hundred_lanes(shipped), strict=True):
        run(shipped.denoiser, [alone], rules)
        assert torch.equal(alone.tokens, lane.tokens) and alone.nfe == lane.nfe
        assert not (alone.tokens == shipped.codec.mask_id).any()
    assert len({tuple(lane.tokens.tolist()) for lane in together}) > 90


def test_every_number_of_a_real_run_is_the_same_in_company(shipped):
    """Not only the tokens: probabilities and entropies to the bit, so that no draw can ever fall differently."""
    rules, lanes = FillRules.of(shipped.codec), hundred_lanes(shipped)[40:56]
    for together, alone in zip(run(shipped.denoiser, lanes, rules), hundred_lanes(shipped)[40:56], strict=True):
        assert same(run(shipped.denoiser, [alone], rules)[0], together)
