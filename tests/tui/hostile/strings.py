"""What a stranger would write where a name, a description, an error or a line of a log is expected."""

from __future__ import annotations

from hypothesis import strategies as st

CLIPBOARD = "\x1b]52;c;b3duZWQ=\x07"

ATTACKS = (
    "\x1b[2J\x1b[H",  # clear, and go home
    "\x1b[10;10Hmoved",
    "\x1b]0;owned\x07",
    "\x1b]2;owned\x1b\\",
    CLIPBOARD,
    "\x9d52;c;b3duZWQ=\x9c",
    "\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\x1bP+q544e\x1b\\",
    "\x90q#0;2;0;0;0\x9c",
    "\x1b_Gf=24;AAAA\x1b\\",
    "\x1b[31;42;5mred\x1b[0m",
    "\x9b31mred",
    "\x1b[6n\x1b[c\x1b[>c\x05",
    "\x1b[?1049l\x1b[?25h\x1b[?1003h",
    "\x1bc\x1b#8\x0e\x0f",
    "\x1b[5i\x1b[4i",
    "a\rb\x08c\x07d\x7f\x00e",
    "two\nlines\tand\x0bmore\x0cpages",
    "exe.\u202egpj.\u2066rtl\u2069",
    "pay\u200bpal\u200d\u2060\ufeff\u00ad",
    "\u2028line\u2029paragraph\u0085next",
    "\U000e0041\U000e0042tags\ue000\U0010ffff\ufdd0",
    "[bold red]markup[/] [@click=app.quit]quit[/] [link=http://x]l[/link]",
    "\\[escaped] ${x} {0} %s %(x)s",
    "\u6771\u4eac\u30c7\u30fc\u30bf\u30d9\u30fc\u30b9\u6771\u4eac",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f4\u200d\u2620\ufe0f \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea",
    "z\u0351\u0343\u0306a\u0316\u0347l\u0334\u035bg\u0338\u0321\u033bo\u0323\u0345",
    "\u0301starts with an accent",
    "\u1112\u1161\u11ab\u0e01\u0e33\u0915\u094d\u0937\u093f",
    "\u115f\u1160\u3164\uffa0blank",
    "x" * 5000,
    " ",
    "",
    "null",
    "--help",
    "'; DROP TABLE instance; --",
    "~!@#$%^&*()_+|}{:?><",
)

_PIECES = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=30),
    st.text(st.sampled_from("\x1b\x9b\x9d\x90\x07[]0123456789;?mHJhlnc\\abc\u202e\u200d\u6771"), max_size=20),
)

TEXTS = st.lists(_PIECES, min_size=1, max_size=4).map("".join)
"""Without lone surrogates: no database keeps them."""
