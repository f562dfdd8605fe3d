"""Results as Markdown: cells, and tables with sentences under them."""

from collections.abc import Sequence

from ddemo import documentation
from ddemo.compare.questions import LIKELIEST
from ddemo.measures import Value
from ddemo.sampling import SAMPLERS, SamplerConfig
from ddemo.sampling.samplers.definition import BY_CLOCK
from ddemo.settings import settings_of


def in_words(config: SamplerConfig, process: str) -> list[str]:
    """A run's sampler, draw and steps, a cell each; with the draw stand other settings that are not the default."""
    sampler = SAMPLERS[config.sampler]
    greedy = "argmax" if sampler.draws else LIKELIEST
    draw = greedy if config.greedy else f"temperature {config.temperature:g}"
    told = {"sampler", "draw", "temperature", "steps", "seed"}
    usual = SamplerConfig(config.sampler).as_dict()
    others = [
        f"{name.replace('_', '-')} {value if isinstance(value, str) else format(value, 'g')}"
        for name, value in config.as_dict().items()
        if name in settings_of(sampler, process) and name not in told and value != usual[name]
    ]
    steps = f"{config.steps}" if sampler.paced == BY_CLOCK else "as needed"
    return [f"{sampler.title} `{sampler.name}`", ", ".join([draw, *others]), steps]


def cell(value: Value | None, decimals: int) -> str:
    """A number with its standard error; a dash where there is none."""
    if value is None or value.number is None:
        return "-"
    error = "" if value.error is None else f" ± {value.error:,.{decimals}f}"
    return f"{value.number:,.{decimals}f}{error}"


def percent(value: Value | None) -> str:
    """A share as a percentage with its standard error."""
    if value is None or value.number is None:
        return "-"
    error = None if value.error is None else 100 * value.error
    return cell(Value(100 * value.number, error), 1) + " %"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str], numbers_from: int) -> str:
    """A table with paragraphs under it; columns from `numbers_from` on are aligned to the right."""
    return "\n\n".join([documentation.table(head, rows, numbers_from), *notes])
