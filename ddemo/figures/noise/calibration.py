"""Confidence against correctness with counts, and the bound's integrand over t."""

import math
from collections.abc import Sequence

from ddemo.calibration import BINS, Calibration, Reliability
from ddemo.figures.look import TITLE, Colours
from ddemo.figures.noise.plain import Plain, bars, evenly, legend, line, plain, titled, warm

HEIGHT = TITLE + 400
MARGIN = {"l": 62, "r": 14, "t": TITLE + 36, "b": 48}
STRETCHES = (("early, t up to 1/3", 0.0, 1 / 3), ("middle", 1 / 3, 2 / 3), ("late, t above 2/3", 2 / 3, 1.0))


def reliability_figure(found: Calibration, title: str, colours: Colours) -> Plain:
    """How often the likeliest token is right, by how sure the model was, for thirds of t; counts below."""
    shades = (colours.ramp[2], colours.ramp[3], warm(colours))
    dotted = {"line": {"color": colours.muted, "dash": "dot", "width": 1.5}}
    data = [line([0, 1], [0, 1], "calibrated", colours.muted, **dotted)]
    for (name, low, high), shade in zip(STRETCHES, shades, strict=True):
        data.append(_curve(found.reliability(low, high), name, shade, width=1.6, size=5))
    whole = found.reliability()
    data.append(_curve(whole, "all t", colours.now, width=3, size=9) | {"error_y": _error(whole)})
    middles = [(at + 0.5) / BINS for at in range(BINS)]
    counts = bars(middles, whole.counts.tolist(), "counts", colours.before, yaxis="y2", showlegend=False, width=0.09)
    data.append(counts | {"hovertemplate": "%{y} positions<extra></extra>"})
    axes = {
        "xaxis": {"title": titled("confidence", colours), "range": [-0.02, 1.02], "anchor": "y2"},
        "yaxis": {"title": titled("share that is right", colours), "range": [-0.03, 1.05], "domain": [0.3, 1.0]},
        "yaxis2": {"title": titled("count", colours), "domain": [0.0, 0.2], "rangemode": "tozero", "nticks": 3},
    }
    return plain(title, data, colours, HEIGHT, MARGIN, axes, **legend(colours))


def _curve(found: Reliability, name: str, colour: str, width: float, size: int) -> dict:
    counts, sure, right = zip(*found.bins, strict=True) if found.total else ((), (), ())
    hover = f"{name}: sure %{{x:.3f}}, right %{{y:.3f}} of %{{text}}"
    look = {"line": {"color": colour, "width": width}, "marker": {"size": size}, "text": list(counts)}
    return line(evenly(sure), evenly(right), name, colour, hover, mode="lines+markers", **look)


def _error(found: Reliability) -> dict:
    """Two standard errors of a share among `counts`."""
    full = found.counts > 0
    right, counts = found.accuracy[full], found.counts[full]
    return {"array": evenly(2 * (right * (1 - right) / counts).sqrt()), "thickness": 1.5, "width": 4}


def integrand_figure(
    integrand: Sequence[tuple[float, float]], bits: tuple[float, float], title: str, colours: Colours
) -> Plain:
    """Bits a character and unit of t, by stretches of t; the mean, which is the area, as a line."""
    count = len(integrand)
    middles = [round((at + 0.5) / count, 5) for at in range(count)]
    values = [value for value, _ in integrand]
    errors = [0.0 if math.isnan(error) else 2 * error for _, error in integrand]
    hover = "t = %{x:.3f}: %{y:.3f} bits a character"
    stretches = bars(middles, values, "integrand", colours.ramp[2], width=0.96 / count)
    stretches |= {"hovertemplate": f"{hover}<extra></extra>"}
    stretches |= {"error_y": {"array": evenly(errors), "thickness": 1.5, "width": 4, "color": colours.ink}}
    area = line([0, 1], [bits[0], bits[0]], "their mean: the bound", warm(colours), "%{y:.3f} bits a character")
    axes = {
        "xaxis": {"title": titled("t", colours), "range": [0, 1]},
        "yaxis": {"title": titled("bits a character, per unit of t", colours), "rangemode": "tozero"},
    }
    return plain(title, [stretches, area], colours, HEIGHT, MARGIN, axes, **legend(colours))
