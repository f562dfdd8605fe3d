import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="training needs requirements-train.txt")

from matplotlib.axes import Axes

from ddemo.training.plot import plot_curve

RECORDS = [{"tokens": i * 1e6, "loss": 9 - i} for i in range(3)] + [{"tokens": 2e6, "valid_nats_per_token": 6.543}]


def metrics(directory: Path) -> Path:
    """A file of `RECORDS`."""
    path = directory / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_a_curve_is_drawn_from_the_metrics(tmp_path, suffix, start):
    plot_curve(metrics(tmp_path), tmp_path / f"curve.{suffix}")
    assert (tmp_path / f"curve.{suffix}").read_bytes().startswith(start)


def test_the_curve_is_the_smoothed_loss_and_the_bound_over_tokens(tmp_path, monkeypatch):
    drawn, plot = [], Axes.plot

    def note(axes, x, y, **look):
        drawn.append((look["label"], x, y))
        return plot(axes, x, y, **look)

    monkeypatch.setattr(Axes, "plot", note)
    plot_curve(metrics(tmp_path), tmp_path / "curve.svg")
    (loss, at, smoothed), (bound, *points) = drawn
    assert loss.startswith("training loss") and bound.startswith("bound")
    np.testing.assert_allclose([at, smoothed], [[0, 1, 2], [9, 8.9, 8.71]])  # a tenth of the way to each new loss
    np.testing.assert_allclose(points, [[2], [6.543]])


def test_a_run_that_has_measured_nothing_yet_has_an_empty_plot(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    plot_curve(tmp_path / "metrics.jsonl", tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size > 0
