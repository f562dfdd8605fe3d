"""Masked language models of Transformers (AutoModelForMaskedLM) as denoisers."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

# Attributes that hold the output head, one after the other, for the classes whose head can be run on its own.
HEADS = (
    ("cls",),
    ("lm_head",),
    ("head", "decoder"),
    ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
)
STRIDE = 16  # what vector units cut rows into


class MaskedLMDenoiser:
    """p(x0 | x_t) from a bidirectional encoder with a vocabulary head, which reads no time.

    A masked diffusion model's optimal prediction does not depend on t (Sahoo et al. 2024; Ou et al. 2024),
    so the network is called without it. The vocabulary projection, half of the work of a small model, runs
    only at the positions asked for.

    Attributes:
        before, after: tokens that the network expects around every text, such as BERT's [CLS] and [SEP]. They are put
            there on the way in, and no caller sees them.
        openers: tokens of which one that is clean at the start of a row says that it is framed already; nothing is
            put around it.
        checks: what was checked when it was loaded, a sentence each.
    """

    takes_time = False
    process = "absorbing"
    predicts = "posterior"

    def __init__(self, model: nn.Module, id: str, mask_id: int, max_length: int, vocab_size: int):
        self.model = model.eval()
        self.id = id
        self.mask_id = mask_id
        self.max_length = max_length
        self.vocab_size = vocab_size
        self.before: tuple[int, ...] = ()
        self.after: tuple[int, ...] = ()
        self.openers: frozenset[int] = frozenset()
        self.checks: tuple[str, ...] = ()
        names = next((names for names in HEADS if all(hasattr(model, name) for name in names)), ())
        self._head = [getattr(model, name) for name in names]

    @property
    def device(self) -> torch.device:
        return self.model.device

    def token_embeddings(self) -> Tensor:
        """[V, D] on `device`: the vectors by which the network reads its tokens; its own, not to be written to."""
        return self.model.get_input_embeddings().weight.detach()[: self.vocab_size]

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        """See `Denoiser`.

        A row's logits are the same to the bit whatever the other rows are, on a CPU: there, rows run with those whose
        length rounds up to the same multiple of 16, and the head sees a multiple of 16 positions. Vector units then
        cut every row in the same way. Elsewhere all rows run in one pass.
        """
        if self.before or self.after:
            tokens, times, lengths, wanted = self._framed(tokens, times, lengths, wanted)
        logits = [self._pass(*part) for part in self._parts(tokens, times, lengths, wanted)]
        if len(logits) == 1:
            return logits[0]
        owner = wanted.nonzero()[:, 0]
        widths = self._widths(lengths)[owner]
        whole = logits[0].new_empty(len(owner), self.vocab_size)
        for width, part in zip(widths.unique().tolist(), logits, strict=True):
            whole[widths == width] = part
        return whole

    def _framed(
        self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The rows with `before` and `after` around each text, as clean tokens where nothing is wanted."""
        width = tokens.shape[1] + len(self.before) + len(self.after)
        opened = torch.isin(tokens[:, 0], torch.tensor(sorted(self.openers), dtype=torch.int64))
        bare = ~(opened & (times[:, 0] == 0))  # one that was drawn there opens nothing
        lead = bare * len(self.before)
        place = torch.arange(width) - lead[:, None]  # [B, W], where in its text a token stands
        inside = (place >= 0) & (place < lengths[:, None])
        source = place.clamp(0, tokens.shape[1] - 1)
        framed = tokens.gather(1, source) * inside
        for i, token in enumerate(self.before):
            framed[(place == i - len(self.before)) & bare[:, None]] = token
        for i, token in enumerate(self.after):
            framed[(place == lengths[:, None] + i) & bare[:, None]] = token
        lengths = lengths + lead + bare * len(self.after)
        return framed, times.gather(1, source) * inside, lengths, wanted.gather(1, source) & inside

    def _parts(
        self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """The rows that run together, narrowest first, each part as wide as it needs to be."""
        if self.device.type != "cpu":
            yield tokens, times, lengths, wanted
            return
        widths = self._widths(lengths)
        for width in widths.unique().tolist():
            rows = widths == width
            yield (
                _as_wide(tokens[rows], width),
                _as_wide(times[rows], width),
                lengths[rows],
                _as_wide(wanted[rows], width),
            )

    def _widths(self, lengths: Tensor) -> Tensor:
        """Lengths rounded up to a multiple of `STRIDE`, as far as the network goes."""
        longest = self.max_length + len(self.before) + len(self.after)
        return ((lengths + STRIDE - 1) // STRIDE * STRIDE).clamp_max(longest)

    def _pass(self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        """Logits [N, V] of rows that run together."""
        given = {"input_ids": tokens, **self._time_input(times), **attention_mask(lengths, tokens.shape[1])}
        given = {name: value.to(self.device, non_blocking=True) for name, value in given.items()}
        # Which rows to take is known on the CPU, so that a GPU need not be waited for.
        places = wanted.flatten().nonzero().squeeze(-1).to(self.device, non_blocking=True)
        if self._head:
            logits = self._project(self.model.base_model(**given)[0].flatten(0, 1)[places])
        else:
            logits = self.model(**given).logits.flatten(0, 1)[places]
        return logits[:, : self.vocab_size].float()

    def _project(self, hidden: Tensor) -> Tensor:
        """The vocabulary projection of positions [N, D]."""
        x = self._in_strides(hidden)
        for part in self._head:
            x = part(x)
        return x[: len(hidden)]

    def _in_strides(self, rows: Tensor) -> Tensor:
        """Rows [N, D], on a CPU with rows of zeros after them up to a multiple of `STRIDE`."""
        return pad(rows, (0, 0, 0, -len(rows) % STRIDE)) if self.device.type == "cpu" else rows

    def _time_input(self, times: Tensor) -> dict[str, Tensor]:
        """What the network is told of the time; nothing here."""
        return {}


class UniformLMDenoiser(MaskedLMDenoiser):
    """A masked language model that was trained on uniform noise, with the noised share told as a token type.

    Its logits are the belief that has not seen the position's own token: trained through q(x_t | x0), the network has
    no need to repeat what stands there (see `ddemo.training.objective.uniform_loss`).
    """

    process = "uniform"
    predicts = "leave-one-out"
    takes_time = True

    def _time_input(self, times: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": time_kinds(times, self.model.config.type_vocab_size)}


def _as_wide(rows: Tensor, width: int) -> Tensor:
    """[B, L, ...] cut or padded with zeros to [B, width, ...]."""
    grow = max(0, width - rows.shape[1])
    return pad(rows[:, :width], (0, 0) * (rows.dim() - 2) + (0, grow))


def attention_mask(lengths: Tensor, width: int) -> dict[str, Tensor]:
    """The attention mask that hides padding; full rows need none."""
    if bool((lengths == width).all()):
        return {}
    return {"attention_mask": (torch.arange(width) < lengths[:, None]).long()}


def time_kinds(times: Tensor, count: int) -> Tensor:
    """[B, L] int64: the noised share of each position as one of `count` token types, 0 for a clean token."""
    return (times * (count - 1)).round().long().clamp(0, count - 1)
