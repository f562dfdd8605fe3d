"""Tables as files."""

import re
from collections.abc import Iterable, Sequence


def csv_text(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """RFC 4180."""
    return "".join(f"{','.join(map(_field, row))}\r\n" for row in (header, *rows))


def _field(value: str | float | None) -> str:
    """A text that a spreadsheet would take for a formula gets an apostrophe."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(round(value, 6))
    if value.isalnum():  # as most are: large tables are written while somebody moves a slider
        return value
    text = f"'{value}" if re.match(r"[=+\-@\t\r]", value) else value
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\n\r]', text) else text
