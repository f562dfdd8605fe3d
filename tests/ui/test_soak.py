"""Two hundred runs leave memory where it was."""

import ctypes
import gc
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ddemo.sampling import Frame
from ddemo.trace import Trace
from ddemo.ui.denoise import stop
from ddemo.ui.visits import SentMessages, Visit
from tests.ui.conftest import HeldCheckpoint, Page, unsteered

RUNS, WARM_UP = 200, 50
KEPT = 20  # runs whose messages are kept: fewer than the warm-up, so that it is full by then
LENGTH, STEPS = 56, 16
ALLOWED = 3_000_000  # the allocator's slack; what 150 runs hold is ten times that (see the second test)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the process's memory from /proc"),
]


def resident_bytes() -> int:
    """Memory of this process in RAM, after handing back what earlier work has left free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


def alive(kind: type) -> int:
    gc.collect()
    return sum(type(item) is kind for item in gc.get_objects())


def soak(tiny, steered, visitors: list | None = None) -> int:
    """Bytes by which the process grows in `RUNS` runs of all kinds after the warm-up; `visitors` are held on to."""
    resident, sent = HeldCheckpoint(replace(tiny, denoiser=steered)), SentMessages(KEPT)
    after_warm_up = 0
    for number in range(RUNS):
        if number == WARM_UP:
            after_warm_up = resident_bytes()
        if number % 5 == 0:  # another visitor comes, and the one before is gone
            page = Page(resident, sent)
            if visitors is not None:
                visitors.append(page)
        one_run(page, number)
        if visitors is None:
            page.reader.runs.clear()
    return resident_bytes() - after_warm_up


def one_run(page: Page, number: int) -> None:
    """In turn: to the end, continued with an edit, stopped, left half way, failed, refused."""
    denoiser = page.resident.get().denoiser
    kind = number % 6
    if kind == 0:
        assert page.denoise("", LENGTH, steps=STEPS, seed=number).run.end["state"] == "finished"
    elif kind == 1:
        first = page.denoise("", LENGTH, steps=STEPS, seed=number, sampler="ancestral")
        last = first.run.stops[-1].step
        cells = [{"from": position} for position in range(LENGTH)] + [{"mask": True}]
        assert page.resume({"run": first.id, "step": last, "cells": cells}).run.end["state"] == "finished"
    elif kind in (2, 3):
        updates = page.start("", LENGTH, steps=STEPS, seed=number)
        for _ in range(STEPS - 2):
            assert next(updates)
        if kind == 2:
            stop(page.visit)
            assert list(updates)
        updates.close()
    elif kind == 4:
        denoiser.before = _fail_late(denoiser)
        assert page.denoise("", LENGTH, steps=STEPS, seed=number).run.end["state"] == "failed"
        denoiser.before = unsteered
    else:
        assert page.denoise("[MASK:9999]").run is None


def _fail_late(denoiser):
    first = denoiser.calls

    def fail(_):
        if denoiser.calls - first == STEPS - 2:
            raise RuntimeError("out of memory")

    return fail


@pytest.fixture
def quiet_log(caplog):
    """pytest keeps the tracebacks that are logged, and with them the frames of a failed run."""
    caplog.set_level("CRITICAL", "ddemo")


def test_memory_stays_flat(tiny, steered, quiet_log):
    kinds = (Trace, Frame, Visit)
    before = [alive(kind) for kind in kinds]
    grown = soak(tiny, steered)
    assert grown < ALLOWED, f"{grown:,} bytes more after {RUNS} runs than after {WARM_UP}"
    assert [alive(kind) for kind in kinds] == before, "nothing of a visitor who left is still there"


def test_the_measure_sees_runs_that_are_held_on_to(tiny, steered, quiet_log):
    visitors: list[Page] = []
    assert soak(tiny, steered, visitors) > 2 * ALLOWED
    assert len(visitors) == RUNS // 5
