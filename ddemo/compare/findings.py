"""What the numbers of a comparison say, in sentences: made of the numbers alone, and silent where they are unsure."""

import math
from collections.abc import Iterator, Mapping, Sequence

from ddemo.compare.ladder import Rung
from ddemo.measures import Comparison, Value, mean_of

CLEAR = 2.0  # standard errors from which a difference is spoken of
ALIKE = 0.95  # agreement from which lanes are called nearly the same


def findings(
    comparison: Comparison, labels: Sequence[str], groups: Mapping[str, Sequence[int]] | None = None
) -> list[str]:
    """Sentences on lanes side by side: on "argmax" against "samples" where there are such groups, else on the lanes
    that stand out, and on where they part.

    Args:
        labels: what each of `comparison.lanes` is called.
        groups: group -> the places of its lanes.
    """
    found = [*_on_parting(comparison)]
    argmax, samples = (comparison.groups.get(name) for name in ("argmax", "samples"))
    if argmax and samples:
        pairs = [_word_pairs(comparison, (groups or {}).get(name, ())) for name in ("argmax", "samples")]
        found += [*_on_likelihood(argmax, samples), *_on_variety(*pairs), *_on_judge(argmax, samples)]
    else:
        found += [*_on_extremes(comparison, labels)]
    if samples:
        found += [*_on_spread(samples)]
    return found


def _on_parting(comparison: Comparison) -> Iterator[str]:
    same = comparison.agreement
    if same.mean is None:
        return
    if same.clashed is None:
        yield "All lanes wrote the same." if same.mean == 1 else "No two lanes put different words at one place."
        return
    yield (
        f"The lanes first hold different words after step {same.clashed.step}, at token {same.clashed.position + 1}; "
        f"at the end two lanes hold the same token at {percent(same.mean)} of the places."
    )


def _on_likelihood(argmax: dict[str, Value], samples: dict[str, Value]) -> Iterator[str]:
    one, other = argmax["bits_per_character"], samples["bits_per_character"]
    if one.number is None or other.number is None:
        return
    told = f"{with_error(one)} bits a character for argmax, {with_error(other)} for the samples"
    if differ(one, other) and one.number < other.number:
        yield f"The checkpoint finds the argmax text more typical: {told}. That says nothing about how good it is."
    elif differ(one, other):
        yield f"The checkpoint finds the samples more typical: {told}."
    else:
        yield f"The checkpoint finds neither clearly more typical: {told}."


def _word_pairs(comparison: Comparison, places: Sequence[int]) -> Value:
    """distinct-2 of a lane, on average over lanes: each on its own, so that one compares with many."""
    return mean_of([comparison.lanes[place]["distinct_2"] for place in places])


def _on_variety(argmax: Value, samples: Value) -> Iterator[str]:
    if argmax.number is None or samples.number is None:
        return
    told = f"{percent(argmax.number)} of its word pairs are different, {percent(samples.number)} of a sample's"
    if not differ(argmax, samples):
        yield f"Argmax and samples vary their words alike: {told}."
    else:
        less = "less" if argmax.number < samples.number else "more"
        yield f"Argmax varies its words {less}: {told}."


def _on_judge(argmax: dict[str, Value], samples: dict[str, Value]) -> Iterator[str]:
    one, other = argmax["perplexity"], samples["perplexity"]
    if one.number is None or other.number is None:
        return
    told = f"perplexity {short(one.number)} for argmax, {with_error(other)} for the samples"
    if other.error is not None and abs(math.log(one.number / other.number)) > CLEAR * other.error / other.number:
        easier = "argmax" if one.number < other.number else "the samples"
        yield f"The judge finds {easier} easier to foresee: {told}. Text that repeats itself is the easiest."
    else:
        yield f"The judge sees no clear difference: {told}."


def _on_spread(samples: dict[str, Value]) -> Iterator[str]:
    apart = samples["edit_distance"].number
    if apart is None:
        return
    if apart <= 1 - ALIKE:
        yield f"The samples are nearly the same text: {percent(apart)} of the tokens would have to change."
    else:
        yield f"To make one sample of another, {percent(apart)} of its tokens would have to change on average."


def _on_extremes(comparison: Comparison, labels: Sequence[str]) -> Iterator[str]:
    """Which lane has the fewest and the most bits a character, where their errors leave no doubt."""
    known = [
        (lane["bits_per_character"], label)
        for lane, label in zip(comparison.lanes, labels, strict=True)
        if lane["bits_per_character"].number is not None
    ]
    if len(known) < 2:
        return
    least, most = (pick(known, key=lambda pair: pair[0].number) for pick in (min, max))
    if differ(least[0], most[0]):
        yield (
            f"By the checkpoint's own bound “{least[1]}” is the most typical text, {with_error(least[0])} bits a "
            f"character, and “{most[1]}” the least, {with_error(most[0])}."
        )
    else:
        yield "The checkpoint's own bound does not tell the lanes apart."


def ladder_findings(rungs: Sequence[Rung]) -> list[str]:
    """Sentences on a steps ladder: what more steps did to each way of drawing, and which was ahead at the most."""
    if len(rungs) < 2:
        return []
    found = []
    for name, called in (("samples", "sampling"), ("argmax", "argmax")):
        first, last = (rung.groups[name]["bits_per_character"] for rung in (rungs[0], rungs[-1]))
        if first.number is None or last.number is None:
            continue
        told = (
            f"{with_error(first)} bits a character in {in_steps(rungs[0].steps)}, "
            f"{with_error(last)} in {rungs[-1].steps}"
        )
        if first.error is None or last.error is None:
            found.append(f"With {called}: {told} (one text, so chance is not told from effect).")
        elif not differ(first, last):
            found.append(f"With {called} more steps make no clear difference: {told}.")
        else:
            typical = "more" if last.number < first.number else "less"
            found.append(f"With {called} more steps write text that the checkpoint finds {typical} typical: {told}.")
    return found


def differ(one: Value, other: Value) -> bool:
    """Whether two numbers are further apart than `CLEAR` standard errors of their difference."""
    error = math.hypot(one.error or 0.0, other.error or 0.0)
    return abs(one.number - other.number) > CLEAR * error


def with_error(value: Value) -> str:
    """A number for people, with its standard error where it has one."""
    return short(value.number) + (f" ± {short(value.error)}" if value.error is not None else "")


def short(number: float) -> str:
    return f"{number:.2f}" if abs(number) < 100 else f"{number:,.0f}"


def in_steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"
