"""The trace's page: what is typed, and how the hops are told."""

from __future__ import annotations

import pytest

from core.network.tracing import Followed, Step
from hostd.spec import Hop, Verdict
from tui.screens.trace import asked
from tui.views.trace import trace_lines


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10.0.0.5", ("10.0.0.5", "icmp", None)),
        ("web-2 tcp 80", ("web-2", "tcp", 80)),
        ("web-2 tcp/80", ("web-2", "tcp", 80)),
        (" web-2  udp ", ("web-2", "udp", None)),
    ],
)
def test_a_destination_is_read(text: str, meant: tuple[str, str, int | None]) -> None:
    assert asked(text) == meant


@pytest.mark.parametrize("text", ["", "a b c d", "web-2 gre", "web-2 tcp http", "web-2 tcp 70000"])
def test_what_makes_no_sense_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        asked(text)


def test_the_hop_that_drops_is_named() -> None:
    followed = Followed(
        steps=(
            Step(host="east", hop=Hop(kind="tap", name="skt-1", verdict=Verdict.PASS, packets=4)),
            Step(
                host="west",
                hop=Hop(
                    kind="firewall", name="to skt-2", verdict=Verdict.DROP, configured="no rule", seen="4 dropped",
                    hint="skydeck security group rule create",
                ),
            ),
            Step(host="west", hop=Hop(kind="tap", name="skt-2", verdict=Verdict.PASS)),
        )
    )  # fmt: skip
    text = "\n".join("".join(cell for cell, _ in line) for line in trace_lines(followed))
    assert "it stops on west at the firewall to skt-2" in text
    assert "skydeck security group rule create" in text
    assert "4 dropped" in text
    assert followed.stopped is followed.steps[1]
