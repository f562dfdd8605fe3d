"""Networks are built one at a time: the library changes the whole process while it builds one."""

import threading

import pytest
import torch
from transformers import PreTrainedModel

from ddemo.denoisers import load_checkpoint
from ddemo.denoisers.building import alone
from ddemo.denoisers.stored import LoadStopped
from tests.denoisers import decoder_checkpoints


@pytest.fixture(scope="module")
def decoder_directory(tmp_path_factory) -> str:
    return str(decoder_checkpoints.write("diffugpt", tmp_path_factory.mktemp("decoders") / "diffugpt"))


def test_loads_in_several_threads_do_not_disturb_each_other(tiny_directory, decoder_directory):
    before, problems = PreTrainedModel.tie_weights, []

    def load(name: str) -> None:
        try:
            for dtype in ("bfloat16", "float32") * 2:
                assert load_checkpoint(name, "cpu", dtype).dtype == dtype
        except Exception as problem:
            problems.append(problem)

    loaders = [threading.Thread(target=load, args=(name,)) for name in (str(tiny_directory), decoder_directory) * 2]
    for loader in loaders:
        loader.start()
    for loader in loaders:
        loader.join(120)
    assert not problems
    assert PreTrainedModel.tie_weights is before and torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("kind", ["tiny_directory", "decoder_directory"])
def test_who_waits_for_another_s_network_can_be_stopped(request, kind):
    pressed, raised = threading.Event(), []

    def load() -> None:
        with pytest.raises(LoadStopped) as stopped:
            load_checkpoint(str(request.getfixturevalue(kind)), "cpu", stopped=pressed.is_set)
        raised.append(stopped.value)

    request.getfixturevalue(kind)
    with alone():
        loader = threading.Thread(target=load)
        loader.start()
        loader.join(0.5)
        assert loader.is_alive(), "it waits"
        pressed.set()
        loader.join(60)
    assert len(raised) == 1
