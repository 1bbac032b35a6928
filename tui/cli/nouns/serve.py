"""`skydeck serve`: be the engine."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from tui.cli.caller import caller
from tui.cli.commands import single

app = single()


@app.command()
def serve(
    background: Annotated[bool, typer.Option("--background", help="End when there is nothing left to do.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Run the engine: carry out operations, hold the links to hosts, watch for drift. Ctrl-C ends it."""
    from core import serve as engine

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("asyncssh").setLevel(logging.INFO if verbose else logging.WARNING)
    engine.run(caller().config, background=background)
