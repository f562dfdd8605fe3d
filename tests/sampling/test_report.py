"""What a turn tells: every number exactly, for many lanes at once, in one copy from the device."""

import numpy as np
import pytest
import torch

from ddemo.sampling import SamplerConfig
from ddemo.sampling.belief import Belief
from ddemo.sampling.report import Report, collect
from ddemo.sampling.samplers import Move


class Seen:
    """As much of a turn as a report reads."""

    def __init__(self, belief: Belief, candidates: int):
        self.belief, self.every = belief, torch.arange(len(belief))
        self.config = SamplerConfig(candidates=candidates)


def report_of(rows: int, width: int, seed: int = 0, candidates: int = 3, fresh: bool = True) -> Report:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, width, generator=generator) * 3
    logits[:, 0] = -torch.inf
    after = torch.randint(width, (rows,), generator=generator)
    return Report(Seen(Belief(torch.arange(rows), logits), candidates), Move(after), fresh)


@pytest.mark.parametrize("rows, width", [(1, 5), (7, 300), (0, 9), (3, 2)])
@pytest.mark.parametrize("candidates", [0, 1, 5, 10])
def test_facts_are_what_the_belief_says(rows, width, candidates):
    report = report_of(rows, width, candidates=candidates)
    (facts,) = collect([report])
    p, k = report.turn.belief.logits.double().softmax(-1), min(candidates, width)
    assert facts.after.tolist() == report.move.after.tolist() and facts.after.dtype == np.int32
    np.testing.assert_allclose(facts.chosen, p.gather(1, report.move.after[:, None])[:, 0], rtol=1e-4, atol=1e-7)
    assert all(part.dtype == np.float32 for part in (facts.chosen, facts.entropy, facts.probabilities))
    if rows:
        assert facts.ids.shape == facts.probabilities.shape == (rows, k) and facts.ids.dtype == np.int32
        np.testing.assert_allclose(facts.probabilities, p.topk(k).values, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(facts.entropy, -torch.special.xlogy(p, p).sum(-1), rtol=1e-3, atol=1e-5)


def test_what_cannot_be_written_has_no_probability():
    report = report_of(4, 6)
    report = Report(report.turn, Move(torch.tensor([0, 1, 0, 2])), True)
    (facts,) = collect([report])
    assert (facts.chosen == 0).tolist() == [True, False, True, False]


def test_a_belief_that_is_used_again_is_not_told_again():
    (facts,) = collect([report_of(5, 8, fresh=False)])
    assert len(facts.after) == len(facts.chosen) == 5
    assert facts.entropy.shape == (0,) and facts.ids.size == facts.probabilities.size == 0


def test_reports_of_a_turn_do_not_mix():
    """Rows, widths and numbers of candidates differ, and some tell nothing fresh."""
    shapes = [(3, 9, 1, True), (0, 9, 5, True), (6, 300, 5, False), (2, 4, 0, True), (1, 4, 10, True)]

    def reports():
        return [report_of(*shape[:2], seed=i, candidates=shape[2], fresh=shape[3]) for i, shape in enumerate(shapes)]

    for together, report in zip(collect(reports()), reports(), strict=True):
        (alone,) = collect([report])
        for name in vars(alone):
            one, other = getattr(together, name), getattr(alone, name)
            assert one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    assert collect([]) == []


def test_whole_numbers_survive_the_copy_with_floats():
    """Above 2^24 a float32 would round them."""
    report = report_of(2, 4)
    report.parts[0] = torch.tensor([2**31 - 1, 2**24 + 1])
    assert collect([report])[0].after.tolist() == [2**31 - 1, 2**24 + 1]


def test_a_kept_frame_does_not_keep_the_whole_turn():
    one, other = collect([report_of(3, 9), report_of(200, 300)])
    base = one.after if one.after.base is None else one.after.base
    assert base.nbytes < other.after.nbytes


def test_one_copy_for_all_lanes_of_a_turn(monkeypatch):
    copies, plain = [], torch.Tensor.cpu
    reports = [report_of(rows, 40) for rows in range(6)]
    monkeypatch.setattr(torch.Tensor, "cpu", lambda part: copies.append(part) or plain(part))
    collect(reports)
    assert len(copies) == 1 and copies[0].numel() == sum(part.numel() for r in reports for part in r.parts)
