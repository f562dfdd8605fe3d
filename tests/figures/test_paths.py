"""Paths of latents as figures: where the points lie, which words are written, and what is said of them."""

import csv
import io
import math

import numpy as np
import plotly.graph_objects as go
import pytest

from ddemo import runs
from ddemo.errors import InputError
from ddemo.figures import paths
from ddemo.processes import gaussian
from ddemo.rerun import latents_along
from ddemo.sampling import SamplerConfig
from ddemo.trace import Trace
from tests.sampling.drive import row_of

TEXT = "The old sailor [MASK:6] sea, and [MASK:2] at all."


@pytest.fixture(scope="module")
def run(tiny_latent) -> Trace:
    return finished(tiny_latent)


def finished(checkpoint, name="ddim", **settings) -> Trace:
    trace = runs.begin(checkpoint, TEXT, 0, SamplerConfig(name, **{"steps": 8, "seed": 2} | settings))
    list(runs.carry_out(checkpoint, trace))
    return trace


def free_of(trace: Trace, segment: int = -1) -> list[int]:
    return (~trace.segments[segment].canvas.fixed).nonzero().flatten().tolist()


def test_points_are_the_latents_between_what_they_aim_at_and_noise(tiny_latent, run):
    at = free_of(run)[2]
    path = paths.path_of(run, at)
    assert [point.step for point in path] == list(range(1, 9))
    for point, latents in zip(path, list(latents_along(tiny_latent, run))[1:], strict=True):
        alpha = 1.0 if point.step == 8 else gaussian.alpha_bar(1 - point.step / 8)
        x, y = tiny_latent.denoiser.space.seen(latents.points[at]).tolist()
        scale = math.sqrt(alpha) + math.sqrt(1 - alpha)
        assert (point.x, point.y) == (pytest.approx(x / scale, abs=1e-5), pytest.approx(y / scale, abs=1e-5))
        assert point.token == int(run.tokens_at(point.step)[at]) and point.t == 1 - point.step / 8


def test_ddim_goes_straight_while_it_aims_at_the_same(tiny_latent):
    """At temperature 0 with a belief that does not change: every point lies on the line from noise to word."""
    trace = finished(tiny_latent, temperature=0.0, steps=40)
    straight = 0
    for at in free_of(trace):
        path = paths.path_of(trace, at)
        same = [frame.ids[frame.positions == at][0, 0] for frame in trace.frames]
        first = next(i for i in range(40) if len(set(same[i:])) == 1)  # from here on the likeliest word is the last
        points = np.array([(point.x, point.y) for point in path[max(0, first - 1) :]])
        if len(points) < 6:
            continue
        way = points[-1] - points[0]
        along = points - points[0]
        off = np.abs(along[:, 0] * way[1] - along[:, 1] * way[0]) / max(np.linalg.norm(way), 1e-9)
        assert off.max() < 1e-4 * max(1.0, np.linalg.norm(way))
        straight += 1
    assert straight >= 2


def test_positions_that_wait_are_drawn_at_their_own_time(tiny_latent, run):
    free = free_of(run)
    row = row_of(run.canvas_at(4))
    row[free[0]]["mask"] = True
    branch = runs.proceed(tiny_latent, run, 4, row)
    list(runs.carry_out(tiny_latent, branch))
    waiting = paths.path_of(branch, free[1])
    assert [point.t for point in waiting] == [0.5] * 4 + [0.375, 0.25, 0.125, 0.0]
    assert len({(point.x, point.y) for point in waiting[:4]}) == 1
    assert [point.t for point in paths.path_of(branch, free[0])] == [1 - k / 8 for k in range(1, 9)]
    before = paths.path_of(branch, free[0], 3)
    assert [point.step for point in before] == [1, 2, 3, 4]
    assert (before[-1].x, before[-1].y) == tuple(paths.path_of(run, free[0])[3][2:4])
    assert paths.path_of(branch, free[0], 4, 0) == before


def test_the_token_that_is_pointed_at_comes_first(run):
    free = free_of(run)
    assert paths.chosen_positions(run, None) == free[:3]
    assert paths.chosen_positions(run, free[1]) == free[1:4]
    assert paths.chosen_positions(run, free[-1]) == [free[-1], *free[-3:-1]]
    assert paths.chosen_positions(run, 0) == free[:3], "a given token has no path"


def test_the_figure_has_a_line_for_each_position_and_a_ring_at_the_step(run):
    positions = free_of(run)[:3]
    figure = paths.path_figure(run, positions, 5, words={3: (0.1, 0.2), 4: (-1.0, 2.0)})
    ground, *lines = figure.data
    assert ground.name == "words" and ground.x.tolist() == pytest.approx([0.1, -1.0])
    assert len(lines) == 6
    for position, line, ring in zip(positions, lines[::2], lines[1::2], strict=True):
        path = paths.path_of(run, position)
        assert line.meta == {"position": position, "steps": list(range(1, 9))}
        assert line.x.tolist() == pytest.approx([point.x for point in path], abs=1e-6)
        assert ring.x.tolist() == pytest.approx([path[4].x]) and ring.y.tolist() == pytest.approx([path[4].y])
        for at, (written, point) in enumerate(zip(line.text, path, strict=True)):
            begins = at == 0 or path[at - 1].token != point.token
            assert not written or begins or at == len(path) - 1
    assert len({(line.line.dash, line.marker.symbol, line.line.color) for line in lines[::2]}) == 3
    assert any(any(line.text) for line in lines[::2])
    (low, high), (bottom, top) = figure.layout.xaxis.range, figure.layout.yaxis.range
    for line in lines:
        assert all(low < x < high for x in line.x) and all(bottom < y < top for y in line.y)
    assert isinstance(go.Figure(figure.to_dict()), go.Figure)
    assert len(paths.path_figure(run, positions[:1]).data) == 1, "no step, no ring"


def test_labels_keep_clear_of_each_other(tiny_latent):
    trace = finished(tiny_latent, "ddpm", steps=40)
    figure = paths.path_figure(trace, free_of(trace)[:3])
    (low, high), (bottom, top) = figure.layout.xaxis.range, figure.layout.yaxis.range
    spots = [
        ((x - low) / (high - low), (y - bottom) / (top - bottom))
        for line in figure.data for x, y, text in zip(line.x, line.y, line.text, strict=True) if text
    ]  # fmt: skip
    assert 3 <= len(spots) <= 3 * paths.MOST_LABELS
    for i, (x, y) in enumerate(spots):
        for other_x, other_y in spots[:i]:
            assert abs(x - other_x) > paths.CLEAR[0] - 1e-6 or abs(y - other_y) > paths.CLEAR[1] - 1e-6


def test_words_that_the_model_considered(run):
    positions = free_of(run)[:2]
    found = paths.words_on(run, positions)
    seen = {int(token) for frame in run.frames for row in (0, 1) for token in frame.ids[row]}
    assert set(found) == seen and len(found) == len(seen)


def test_in_words_and_as_a_table(run):
    positions = free_of(run)[:2]
    told = paths.path_words(run, positions)
    assert told.count("was first nearest to “") == 2 and f"Token {positions[0] + 1} " in told
    head, *rows = csv.reader(io.StringIO(paths.path_csv(run, positions), newline=""))
    assert tuple(head) == paths.HEADER and len(rows) == 16
    assert {row[0] for row in rows} == {str(at + 1) for at in positions}
    point = paths.path_of(run, positions[0])[7]
    assert rows[7][1] == "8" and float(rows[7][3]) == pytest.approx(point.x, abs=1e-6)


def test_what_has_no_path_is_one_sentence(tiny, run):
    other = runs.begin(tiny, TEXT, 0, SamplerConfig(steps=2))
    first = free_of(run)[0]
    for make, says in (
        (lambda: paths.path_of(other, 3), "Only runs under Gaussian noise"),
        (lambda: paths.path_of(run, 0), "No latent moved at token 1:"),
        (lambda: paths.path_of(run, first, 99), "has steps 0 to 8"),
        (lambda: paths.path_figure(run.cut_at(0), [first]), f"No latent moved at token {first + 1}:"),
    ):
        with pytest.raises(InputError, match=says):
            make()
