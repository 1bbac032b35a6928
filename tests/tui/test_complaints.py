"""docs/tui.md: all 25 complaints have an answer, and what is named to show it exists."""

from __future__ import annotations

import re

from textual.binding import Binding

from tests.lab.hosts import REPOSITORY
from tui.registry import VIEWS
from tui.verbs import GENERAL, Confirm
from tui.widgets.table import RowList

PAGE = REPOSITORY / "docs" / "tui.md"


def test_every_complaint_has_an_answer_that_a_test_shows() -> None:
    rows = re.findall(r"^\| (\d+) \|(.*)\|(.*)\|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 26))
    for number, complaint, answer, shown in rows:
        assert "#" in complaint, number
        assert answer.strip(), number
        named = re.findall(r"`(tests/[^`]+)`", shown)
        assert named or "does not apply" in answer, number
        for name in named:
            path, _, test = name.partition("::")
            assert (REPOSITORY / path).exists(), name
            assert not test or re.search(rf"^(async )?def {test}\(", (REPOSITORY / path).read_text(), re.MULTILINE), (
                name
            )


def test_no_key_is_one_that_terminals_keep_for_themselves() -> None:
    """tmux and screen take Ctrl+B and Ctrl+A, input methods Ctrl+Space; Ctrl+H, I, M arrive as other keys; Ctrl+Enter
    does not arrive."""
    taken = {f"ctrl+{key}" for key in ("a", "b", "space", "@", "h", "i", "m", "enter", "z")}
    verbs = [verb for view in VIEWS.values() for verb in view.verbs]
    for verb in (*verbs, *GENERAL):
        assert verb.key not in taken, verb
        assert not verb.key.startswith("ctrl+") or not (verb.run or verb.form), verb  # nothing changes by a Ctrl key
        assert not verb.dangerous or verb.confirm is not Confirm.NONE or verb.action, verb
    for binding in RowList.BINDINGS:
        assert isinstance(binding, Binding)
        assert set(binding.key.split(",")) - taken, binding  # one of several may be
