"""Sentences that follow from the numbers, and change with them."""

from ddemo.compare.findings import findings, ladder_findings
from ddemo.compare.ladder import Rung
from ddemo.measures import Agreement, Comparison, Place, Value

NOTHING = Value(None, why="Not here.")


def group(bits, perplexity=None, apart=None, error=0.1):
    return {
        "bits_per_character": Value(bits, error if bits is not None else None),
        "perplexity": NOTHING if perplexity is None else Value(perplexity, 2.0),
        "edit_distance": NOTHING if apart is None else Value(apart),
    }


def said(argmax, samples, same=None, pairs=(0.5, 0.9, 0.8)):
    same = same or Agreement([0.5, None, 1.0], Place(1, 0), Place(2, 0))
    lanes = [{"distinct_2": Value(number)} for number in pairs]
    groups = {"argmax": [0], "samples": range(1, len(pairs))}
    return findings(Comparison(lanes, {"argmax": argmax, "samples": samples}, same, 0), [], groups)


def test_the_side_that_is_ahead_is_the_one_that_the_numbers_say():
    low, high = said(group(1.0), group(2.0)), said(group(2.0), group(1.0))
    assert any("the argmax text more typical: 1.00 ± 0.10" in line for line in low)
    assert any("the samples more typical: 2.00 ± 0.10" in line for line in high)
    assert any("neither clearly more typical" in line for line in said(group(1.1), group(1.0)))


def test_variety_is_worded_from_the_numbers():
    def line(*pairs):
        return next(line for line in said(group(1), group(1), pairs=pairs) if "word pairs" in line)

    assert line(0.5, 0.9, 0.8) == (
        "Argmax varies its words less: 50 % of its word pairs are different, 85 % of a sample's."
    )
    assert line(0.99, 0.6, 0.5).startswith("Argmax varies its words more: 99 %")
    assert line(0.8, 0.9, 0.7).startswith("Argmax and samples vary their words alike")
    assert not any("word pairs" in line for line in said(group(1), group(1), pairs=(None, 0.5)))


def test_the_judge_speaks_only_where_there_is_one():
    assert not any("judge" in line for line in said(group(1), group(1)))
    assert any("judge finds argmax easier" in line for line in said(group(1, perplexity=5), group(1, perplexity=50)))
    assert any(
        "judge finds the samples easier" in line for line in said(group(1, perplexity=90), group(1, perplexity=50))
    )
    assert any("sees no clear difference" in line for line in said(group(1, perplexity=49), group(1, perplexity=50)))


def test_where_lanes_part_is_said_as_people_count():
    assert said(group(1), group(1))[0] == (
        "The lanes first hold different words after step 2, at token 1; at the end two lanes hold the same token at "
        "75 % of the places."
    )
    assert said(group(1), group(1), Agreement([1.0], None, None))[0] == "All lanes wrote the same."
    alone = said(group(1), group(1), Agreement(why="There is only one lane."))
    assert alone and not any(line.startswith(("The lanes", "All lanes", "No two lanes")) for line in alone)


def test_missing_numbers_are_not_spoken_of():
    empty = dict.fromkeys(group(1), NOTHING)
    assert findings(Comparison([], {"argmax": empty, "samples": empty}, Agreement(why="None."), 0), []) == []


def test_lanes_without_groups_have_their_extremes_named():
    lanes = [{"bits_per_character": Value(bits, 0.05)} for bits in (2.0, 1.0, 3.0)]
    lines = findings(Comparison(lanes, {}, Agreement(why="."), 3), ["a", "b", "c"])
    assert lines == [
        "By the checkpoint's own bound “b” is the most typical text, 1.00 ± 0.05 bits a character, and “c” the "
        "least, 3.00 ± 0.05."
    ]
    alike = [{"bits_per_character": Value(bits, 0.5)} for bits in (2.0, 2.1)]
    assert "does not tell the lanes apart" in findings(Comparison(alike, {}, Agreement(why="."), 2), ["a", "b"])[0]


def test_a_ladder_says_what_more_steps_did():
    def rung(steps, samples, argmax):
        return Rung(
            steps, {"samples": group(samples), "argmax": group(argmax) | {"bits_per_character": Value(argmax, None)}}
        )

    lines = ladder_findings([rung(4, 3.0, 1.0), rung(64, 2.0, 0.8)])
    assert lines[0].startswith("With sampling more steps write text that the checkpoint finds more typical: 3.00")
    assert "chance is not told from effect" in lines[1]
    assert "no clear difference" in ladder_findings([rung(4, 2.0, 1.0), rung(64, 2.1, 0.8)])[0]
    assert "less typical" in ladder_findings([rung(4, 2.0, 1.0), rung(64, 3.0, 0.8)])[0]
    assert ladder_findings([rung(4, 2.0, 1.0)]) == []
