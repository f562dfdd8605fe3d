"""bfloat16 is used where it is faster, and nowhere else."""

import pytest
import torch

from ddemo.training import arithmetic
from ddemo.training.arithmetic import DTYPES, pick_arithmetic, seconds_of_a_product

CPU = torch.device("cpu")


@pytest.mark.parametrize(("half", "full", "picked"), [(1.0, 2.6, torch.bfloat16), (40.0, 1.0, torch.float32)])
def test_auto_takes_the_faster(monkeypatch, half, full, picked):
    monkeypatch.setattr(
        arithmetic, "seconds_of_a_product", lambda dtype, device: half if dtype is torch.bfloat16 else full
    )
    assert pick_arithmetic("auto", CPU) is picked


@pytest.mark.parametrize("name", [name for name in DTYPES if name != "auto"])
def test_what_is_asked_for_is_not_tried(monkeypatch, name):
    monkeypatch.setattr(arithmetic, "seconds_of_a_product", None)
    assert pick_arithmetic(name, CPU) is getattr(torch, name)


def test_a_product_takes_some_time():
    assert 0 < seconds_of_a_product(torch.float32, CPU) < 60
