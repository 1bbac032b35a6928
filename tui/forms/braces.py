"""Several names from one, as shells write them: `web-{1..3}`, `{web,db}-{01..12}`.

The command that is shown names each, so that it means the same in a shell that knows no braces.
"""

from __future__ import annotations

import itertools
import re

MOST = 1000
"""Names from one text at most: a slip of the finger is not a thousand machines."""

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BRACES = re.compile(r"\{([^{}]*)\}")


def expanded(text: str) -> list[str]:
    """The names, in order; the text itself when it has no braces that mean several. Raises Invalid: too many."""
    from core.errors import Invalid

    parts: list[list[str]] = []
    end = count = 0
    for match in _BRACES.finditer(text):
        found = _alternatives(match[1])
        if found is None:
            continue  # `{x}` stays as it is, in a shell as well
        parts += [[text[end : match.start()]], found]
        end = match.end()
        count = (count or 1) * len(found)
        if count > MOST:
            raise Invalid(f"{text!r} means more than {MOST} names", hint="Make fewer at once.")
    parts.append([text[end:]])
    return ["".join(each) for each in itertools.product(*parts)]


def _alternatives(inner: str) -> list[str] | None:
    if match := _RANGE.fullmatch(inner):
        first, last = int(match[1]), int(match[2])
        # As shells have it: a zero in front of either gives all of them as many digits.
        width = (
            max(len(end) for end in match.groups())
            if any(e.startswith("0") and len(e) > 1 for e in match.groups())
            else 0
        )
        step = 1 if first <= last else -1
        if abs(last - first) >= MOST:
            last = first + step * MOST
        return [f"{number:0{width}}" for number in range(first, last + step, step)]
    return inner.split(",") if "," in inner else None
