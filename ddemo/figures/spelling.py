"""Tokens and numbers as people read them in figures."""

import re

SPECIAL = re.compile(r"<\|([^|]+)\|>|\[(PAD|CLS|SEP|UNK|BOS|EOS|EOT)\]|</?(s|pad|unk|bos|eos)>")
NAMED = {
    "\t": "⇥", "\n": "⏎", "\r": "␍", "\x7f": "␡", "\xad": "⟨SHY⟩", "\xa0": "⍽", "\u061c": "⟨ALM⟩",
    "\u200b": "⟨ZWSP⟩", "\u200c": "⟨ZWNJ⟩", "\u200d": "⟨ZWJ⟩", "\u200e": "⟨LRM⟩", "\u200f": "⟨RLM⟩",
    "\u2028": "⟨LS⟩", "\u2029": "⟨PS⟩", "\u202a": "⟨LRE⟩", "\u202b": "⟨RLE⟩", "\u202c": "⟨PDF⟩",
    "\u202d": "⟨LRO⟩", "\u202e": "⟨RLO⟩", "\u2060": "⟨WJ⟩", "\u2066": "⟨LRI⟩", "\u2067": "⟨RLI⟩",
    "\u2068": "⟨FSI⟩", "\u2069": "⟨PDI⟩", "\ufe0f": "⟨VS16⟩", "\ufeff": "⟨BOM⟩",
}  # fmt: skip
JOINERS = "\u200d\ufe0f"
# Plotly reads a few HTML tags and entities, %{names} and, with MathJax on the page, $formulas$; a page var(--names).
MARKUP = str.maketrans({sign: f"&#{ord(sign)};" for sign in "&<>$%{}("})


def plain(piece: bytes) -> str:
    """A token's text as it is; bytes that are no character as ⟨E2⟩."""
    text = piece.decode("utf-8", errors="surrogateescape")
    return "".join(f"⟨{ord(sign) - 0xDC00:02X}⟩" if 0xDC80 <= ord(sign) <= 0xDCFF else sign for sign in text)


def spelled(piece: bytes) -> str:
    """A token on one line as the page spells it: spaces before it as ·, line breaks as ⏎, nothing invisible."""
    text = plain(piece)
    if special := SPECIAL.fullmatch(text):
        return next(filter(None, special.groups())).replace("_", " ").replace("endoftext", "end of text")
    if text and not text.strip(" "):
        return "␣" * len(text)
    word = text.lstrip(" ")
    signs = (_sign(sign, word[at - 1] if at else "") for at, sign in enumerate(word))
    return "·" * (len(text) - len(word)) + "".join(signs)


def _sign(sign: str, before: str) -> str:
    if sign in JOINERS and before > "\xff":  # it joins, or dresses, what stands before it
        return sign
    if sign in NAMED:
        return NAMED[sign]
    if sign < " ":
        return chr(0x2400 + ord(sign))
    return f"⟨{ord(sign):04X}⟩" if "\x80" <= sign < "\xa0" else sign


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def harmless(text: str) -> str:
    """The text for plotly, which would read markup in it."""
    return text.translate(MARKUP)


def short(p: float) -> str:
    """A probability in three figures: .171, .00123."""
    return f"{p:.3g}".removeprefix("0")
