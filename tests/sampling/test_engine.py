"""The engine: lanes of many callers in one batch, each as if it were alone, whatever the others do."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.sampling import Engine, SamplerConfig
from ddemo.sampling.engine import LEAD
from tests.sampling.drive import RULES, all_masks, companies, fresh, random_canvas, replay, run, same

SOON = 10.0  # seconds after which a test takes it that nothing will happen any more


def engine_of(denoiser) -> Engine:
    return Engine(denoiser, RULES)


def read(engine: Engine, lanes) -> list[list]:
    """The frames of each lane, as one caller gets them."""
    frames = {lane: [] for lane in lanes}
    for turn in engine.run(lanes):
        for lane, frame in turn:
            frames[lane].append(frame)
    return list(frames.values())


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.002)


def at_rest(engine: Engine) -> bool:
    """Whether the engine's thread has ended."""
    return engine.lanes == 0 and engine._thread is None


@pytest.fixture
def gated(make_fake):
    """A fake denoiser each of whose calls waits to be let through, or goes on once `open` is called."""

    class Gated(make_fake):
        def __init__(self, **more):
            super().__init__(**more)
            self.permits, self.widths, self.entered = threading.Semaphore(0), [], 0

        def __call__(self, tokens, times, lengths, wanted):
            self.entered += 1
            assert self.permits.acquire(timeout=SOON)
            self.widths.append(len(tokens))
            return super().__call__(tokens, times, lengths, wanted)

        def let(self, calls: int) -> None:
            self.permits.release(calls)

    return Gated


def test_one_caller_gets_what_denoise_gives(make_fake):
    def lanes():
        return [fresh(random_canvas(12, seed), SamplerConfig(seed=seed, steps=5)) for seed in range(3)]

    engine, mine = engine_of(make_fake()), lanes()
    whole = run(make_fake(), lanes())
    assert all(same(*pair) for pair in zip(read(engine, mine), whole, strict=True))
    assert all(torch.equal(lane.tokens, replay(lane.canvas, f)) for lane, f in zip(mine, whole, strict=True))
    eventually(lambda: at_rest(engine))


def test_no_lanes_at_all(make_fake):
    engine = engine_of(make_fake())
    assert read(engine, []) == []
    done = fresh(all_masks(3), SamplerConfig(steps=1))
    run(make_fake(), [done])
    assert read(engine, [done]) == [[]]
    eventually(lambda: at_rest(engine))


@given(companies(most=6), st.lists(st.integers(0, 3), min_size=6, max_size=6), st.randoms())
@settings(max_examples=25, deadline=None)
def test_callers_on_many_threads_get_each_what_they_would_get_alone(make_fake, company, delays, random):
    """They come and go as their threads happen to run; every lane's frames are in order and its own."""
    alone = [run(company.denoiser(make_fake), [lane])[0] for lane in company.lanes()]
    engine = engine_of(company.denoiser(make_fake))

    def call(lane, delay):
        time.sleep(delay / 1000)
        return read(engine, [lane])[0]

    lanes = company.lanes()
    order = random.sample(range(len(lanes)), len(lanes))
    with ThreadPoolExecutor(len(lanes)) as pool:
        calls = {index: pool.submit(call, lanes[index], delays[index]) for index in order}
        got = [calls[index].result(timeout=SOON) for index in range(len(lanes))]
    assert all(same(*pair) for pair in zip(got, alone, strict=True))
    assert all(lane.failure is None for lane in lanes)
    eventually(lambda: at_rest(engine))


def test_callers_share_a_pass(gated):
    """Lanes that came while a pass was under way are in the next one."""
    fake = gated()
    engine, config = engine_of(fake), SamplerConfig(steps=4)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(read, engine, [fresh(all_masks(8), config)])
        eventually(lambda: fake.entered == 1)
        others = [pool.submit(read, engine, [fresh(all_masks(6), config)]) for _ in range(2)]
        eventually(lambda: engine.lanes == 3)
        fake.let(5)
        assert all(len(call.result(timeout=SOON)[0]) == 4 for call in [first, *others])
    assert fake.widths == [1, 3, 3, 3, 2]
    eventually(lambda: at_rest(engine))


def test_a_slow_reader_is_let_wait_and_holds_up_nobody(make_fake):
    fake = make_fake()
    engine = engine_of(fake)
    slow = fresh(all_masks(20), SamplerConfig(steps=20))
    expected = run(make_fake(), [fresh(all_masks(20), SamplerConfig(steps=20))])[0]
    frames = engine.run([slow])
    got = [frame for _, frame in next(frames)]
    eventually(lambda: slow.step == 1 + LEAD)
    with ThreadPoolExecutor(1) as pool:  # meanwhile another caller is served to the end
        quick = pool.submit(read, engine, [fresh(all_masks(30), SamplerConfig(steps=30))])
        assert len(quick.result(timeout=SOON)[0]) == 30
    time.sleep(0.05)
    assert slow.step == len(got) + LEAD == slow.nfe and fake.rows == 30 + slow.nfe
    for turn in frames:
        got += [frame for _, frame in turn]
        assert slow.step <= len(got) + LEAD
    assert same(got, expected)
    eventually(lambda: at_rest(engine))


def test_a_reader_who_comes_back_late_finds_all_frames(make_fake):
    """A run that is over in the engine is not over for its reader."""
    engine, lane = engine_of(make_fake()), fresh(all_masks(LEAD), SamplerConfig(steps=LEAD))
    frames = engine.run([lane])
    first = next(frames)
    eventually(lambda: at_rest(engine))
    assert [frame.step for turn in [first, *frames] for _, frame in turn] == list(range(1, LEAD + 1))
    assert not lane.failure


def test_closing_the_iterator_takes_the_lanes_out(make_fake):
    fake = make_fake()
    engine = engine_of(fake)
    left, stays = fresh(all_masks(30), SamplerConfig(steps=30)), fresh(all_masks(25), SamplerConfig(steps=25))
    other = engine.run([stays])
    got = [next(other)]
    with closing(engine.run([left])) as frames:
        next(frames), next(frames)
    assert left.cancelled and engine.lanes <= 1
    steps = left.step
    got += list(other)
    assert [frame.step for turn in got for _, frame in turn] == list(range(1, 26))
    assert left.step <= steps + 1 and left.step <= 2 + LEAD + 1 < 30  # a step under way is carried out
    eventually(lambda: at_rest(engine))


def test_a_caller_that_never_read_on_is_no_burden_once_it_is_gone(make_fake):
    engine = engine_of(make_fake())
    frames = engine.run([fresh(all_masks(30), SamplerConfig(steps=30))])
    next(frames)
    del frames  # as when a visitor's connection is dropped
    eventually(lambda: at_rest(engine))
    assert len(read(engine, [fresh(all_masks(5), SamplerConfig(steps=5))])[0]) == 5


def test_a_cancelled_lane_ends_and_its_companions_go_on(make_fake):
    engine = engine_of(make_fake())
    lanes = [fresh(all_masks(20), SamplerConfig(steps=20, seed=seed)) for seed in range(2)]
    whole = run(make_fake(), [fresh(all_masks(20), SamplerConfig(steps=20, seed=1))])[0]
    frames = {lane: [] for lane in lanes}
    for turn in engine.run(lanes):
        for lane, frame in turn:
            frames[lane].append(frame)
        lanes[0].cancelled = True
    assert 1 <= len(frames[lanes[0]]) <= 1 + LEAD + 1 and same(frames[lanes[1]], whole)
    eventually(lambda: at_rest(engine))


def test_a_denoiser_that_raises_ends_its_lanes_and_not_the_engine(make_fake):
    class Choking(make_fake):
        def __call__(self, tokens, times, lengths, wanted):
            if bool((lengths == 40).any()):
                raise RuntimeError("this row is too much")
            return super().__call__(tokens, times, lengths, wanted)

    engine = engine_of(Choking())
    whole = run(make_fake(), [fresh(all_masks(25), SamplerConfig(steps=25))])[0]
    with ThreadPoolExecutor(4) as pool:
        good = pool.submit(read, engine, [fresh(all_masks(25), SamplerConfig(steps=25))])
        bad = [fresh(all_masks(40), SamplerConfig()) for _ in range(3)]
        for call in [pool.submit(read, engine, [lane]) for lane in bad]:
            assert call.result(timeout=SOON) == [[]]
        assert same(good.result(timeout=SOON)[0], whole)
    assert all(str(lane.failure) == "this row is too much" for lane in bad)
    eventually(lambda: at_rest(engine))
    assert len(read(engine, [fresh(all_masks(4), SamplerConfig(steps=4))])[0]) == 4  # it serves again


@pytest.mark.parametrize("times", [1, 3])
def test_what_goes_wrong_outside_of_any_lane_ends_the_lanes_under_way(make_fake, monkeypatch, times):
    """Such as a copy from the device: nobody waits for ever, and later callers are served."""
    from ddemo.sampling import loop

    collect, left = loop.collect, [times]

    def sometimes(reports):
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("the device is gone")
        return collect(reports)

    monkeypatch.setattr(loop, "collect", sometimes)
    engine = engine_of(make_fake())
    for _ in range(times):
        lane = fresh(all_masks(6), SamplerConfig(steps=6))
        assert read(engine, [lane]) == [[]] and str(lane.failure) == "the device is gone"
    assert len(read(engine, [fresh(all_masks(6), SamplerConfig(steps=6))])[0]) == 6
    eventually(lambda: at_rest(engine))


def test_the_thread_ends_with_its_last_caller_and_begins_with_the_next(make_fake):
    engine, before = engine_of(make_fake()), threading.active_count()
    assert at_rest(engine)
    for _ in range(30):  # back to back: a new caller may come just as the thread is about to end
        assert len(read(engine, [fresh(all_masks(2), SamplerConfig(steps=2))])[0]) == 2
    eventually(lambda: at_rest(engine) and threading.active_count() == before)


def test_lanes_under_way_are_counted(gated):
    fake = gated()
    engine = engine_of(fake)
    assert engine.lanes == 0
    with ThreadPoolExecutor(1) as pool:
        lanes = [fresh(all_masks(3), SamplerConfig(steps=3)) for _ in range(5)]
        call = pool.submit(read, engine, lanes)
        eventually(lambda: engine.lanes == 5)
        fake.let(3)
        call.result(timeout=SOON)
    eventually(lambda: engine.lanes == 0)


def test_many_callers_that_come_and_go_leave_nothing_behind(make_fake):
    """Readers that stop half-way, cancel, fail to read or read to the end, eight at a time."""
    engine = engine_of(make_fake())

    def visit(number: int) -> bool:
        lane = fresh(random_canvas(5 + number % 20, number), SamplerConfig(steps=10, seed=number))
        frames = engine.run([lane])
        for taken, _ in enumerate(frames):
            if number % 4 == 1 and taken == 2:
                frames.close()
            if number % 4 == 2 and taken == 1:
                lane.cancelled = True
            if number % 4 == 3:
                break
        return lane.failure is None

    with ThreadPoolExecutor(8) as pool:
        assert all(call.result(timeout=SOON) for call in [pool.submit(visit, number) for number in range(60)])
    eventually(lambda: at_rest(engine))
