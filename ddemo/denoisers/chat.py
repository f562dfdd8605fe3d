"""Turns of a conversation as the tokens that a checkpoint was tuned on."""

from collections.abc import Sequence
from dataclasses import dataclass

from ddemo.denoisers.codec import TextCodec, check_encodable
from ddemo.errors import InputError

ROLES = ("system", "user", "assistant")
LLADA = (  # where a LLaDA's tokenizer comes without a template
    "{{ bos_token }}{% for turn in messages %}<|start_header_id|>{{ turn.role }}<|end_header_id|>\n\n"
    "{{ turn.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


@dataclass(frozen=True)
class Turn:
    """What somebody said.

    Attributes:
        role: one of `ROLES`.
        text: their words.
    """

    role: str
    text: str

    def __post_init__(self):
        if self.role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}, not {self.role!r}")


def turns_of(messages: object, system: str = "") -> list[Turn]:
    """Turns from untrusted {"role", "content"} records, after what the system says, if anything.

    Raises:
        InputError: they are no such records, or nothing is left to answer.
    """
    if not isinstance(messages, list):
        raise InputError('A conversation is a list of {"role": ..., "content": ...} records.')
    turns = [Turn("system", system)] if system.strip() else []
    for message in messages:
        role, text = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if role not in ROLES or not isinstance(text, str):
            raise InputError(f"A turn of a conversation has a text and a role that is one of {', '.join(ROLES)}.")
        turns.append(Turn(role, text))
    if not turns or turns[-1].role != "user" or not turns[-1].text.strip():
        raise InputError("There is nothing to answer: the last turn of a conversation is what the user says.")
    return turns


def can_chat(codec: TextCodec) -> bool:
    """Whether the checkpoint says how turns are written."""
    return _template(codec) is not None


def chat_prompt(codec: TextCodec, turns: Sequence[Turn]) -> list[int]:
    """Token ids of a conversation up to where the assistant's next turn begins, in the checkpoint's own format.

    The format is the tokenizer's chat template, without thinking where it has a switch for that, or the family's.

    Raises:
        InputError: no turns, none known how to write, or one that holds a token that the format gives a meaning to.
    """
    if not turns:
        raise InputError("There is nothing to answer: a conversation needs a turn.")
    template = _template(codec)
    if template is None:
        raise InputError("This checkpoint does not say how turns of a conversation are written: it has no template.")
    marks = [token for token in codec.tokenizer.get_added_vocab() if token.strip()]
    for turn in turns:
        check_encodable(turn.text)
        if mark := next((mark for mark in marks if mark in turn.text), None):
            raise InputError(f"{mark} stands in a turn and means something to this checkpoint: take it out.")
    try:
        text = codec.tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.text} for turn in turns],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
    except Exception as problem:  # templates refuse turns in their own ways, such as a system's
        raise InputError(
            f"This checkpoint's template does not take these turns ({type(problem).__name__})."
        ) from problem
    return codec.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def _template(codec: TextCodec) -> str | None:
    """The tokenizer's template, else that of LLaDA for a tokenizer with LLaDA's marks."""
    if codec.tokenizer.chat_template is not None:
        return codec.tokenizer.get_chat_template()
    known = codec.tokenizer.get_vocab()
    marks = ("<|mdm_mask|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    return LLADA if all(mark in known for mark in marks) and codec.tokenizer.bos_token else None
