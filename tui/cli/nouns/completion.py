"""`skydeck completion`: what a shell needs to complete this command line."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tui.cli import COMPLETING
from tui.cli.commands import single


class Shell(StrEnum):
    """Shells that can be told."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


app = single()


@app.command()
def completion(shell: Annotated[Shell, typer.Argument(metavar="|".join(Shell))]) -> None:
    """Print the completion script of a shell: source it, or put it where the shell looks."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # public, but not re-exported

    print(get_completion_script(prog_name="skydeck", complete_var=COMPLETING, shell=shell.value))
