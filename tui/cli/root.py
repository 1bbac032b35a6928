"""The root of the command line: the nouns, each loaded when it is named, and the one place errors are caught."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]  # public, but not re-exported
from typer.core import TyperGroup
from typer.main import get_command

from core.errors import SkydeckError
from tui.cli import COMPLETING, report
from tui.cli.caller import caller, open_caller

NOUNS: dict[str, str] = {
    "server": "instances",
    "console": "consoles",
    "volume": "volumes",
    "image": "images",
    "flavor": "flavors",
    "keypair": "keypairs",
    "project": "projects",
    "quota": "quotas",
    "limits": "limits",
    "network": "networks",
    "subnet": "subnets",
    "port": "ports",
    "router": "routers",
    "floating": "floating_ips",
    "security": "security_groups",
    "aggregate": "aggregates",
    "availability": "zones",
    "host": "hosts",
    "storage": "storage",
    "hypervisor": "hypervisors",
    "operation": "operations",
    "event": "events",
    "audit": "audit",
    "search": "search",
    "finding": "findings",
    "serve": "serve",
    "trace": "trace",
    "undo": "undo",
    "verify": "verify",
    "completion": "completion",
}
"""The word of the command line to its module in tui.cli.nouns."""


class _Commands(Mapping[str, Any]):
    """The nouns' commands, imported one by one as they are asked for."""

    def __getitem__(self, word: str) -> Any:
        if word not in NOUNS:
            return self._declared(word)
        module = importlib.import_module(f"tui.cli.nouns.{NOUNS[word]}")
        command = get_command(module.app)
        command.name = word
        return command

    def _declared(self, word: str) -> Any:
        """Of a noun that is nothing but its view's declaration. Raises KeyError."""
        from tui.cli import declared

        command = get_command(declared.app_of(_declared()[word]))
        command.name = word
        return command

    def __iter__(self) -> Iterator[str]:
        return iter([*NOUNS, *(_declared() if "tui.registry" in sys.modules else ())])

    def __len__(self) -> int:
        return len(list(iter(self)))


def _declared() -> Mapping[str, Any]:
    """Word to view. All views are loaded for this, and with them the app's libraries: only for a word that is none of
    NOUNS. A list of all nouns is not worth that: it has those of views when they are loaded already."""
    from tui import registry
    from tui.forms import derived

    return {derived.noun(view): view for view in registry.VIEWS.values() if view.commands}


class Root(TyperGroup):
    """Loads nouns lazily; turns errors into a title, a hint and an exit status."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        if COMPLETING in os.environ:
            completion_init()
        sys.exit(self._run(sys.argv[1:] if args is None else list(args), extra))

    def _run(self, args: list[str], extra: dict[str, Any]) -> int:
        try:
            ended = super().main(args, "skydeck", COMPLETING, standalone_mode=False, **extra)
        except SkydeckError as bad:
            at = caller()
            report.refusal(bad, as_json=at.json_errors, debug=at.debug)
            return bad.exit_code
        except OSError as bad:
            # A full disk, a directory that may not be written: told like any other cause.
            if caller().debug:
                raise
            report.error(f"{bad.strerror or bad}{f': {bad.filename}' if bad.filename else ''}")
            return 1
        except typer.TyperException as bad:
            _usage(bad)
            return bad.exit_code
        except typer.Abort:
            report.error("aborted")
            return 1
        # An Exit inside a command comes back as its status.
        return ended if isinstance(ended, int) else 0


def _usage(bad: typer.TyperException) -> None:
    ctx = getattr(bad, "ctx", None)
    message = bad.format_message()
    if not getattr(ctx, "args", None) and message.startswith("Usage:"):
        print(message, file=sys.stderr)  # a noun alone: its help is the answer
        return
    report.error(message, hint=f"{ctx.command_path} --help" if ctx is not None else "")


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    ctx: typer.Context,
    project: Annotated[
        str | None, typer.Option("--project", "--os-project-name", metavar="PROJECT", help="Work in this project.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    """A private cloud run from a terminal. Alone, or with a view such as ':inst /web', it opens the app, which takes
    --read-only, --ascii and --theme NAME before the view."""
    ctx.call_on_close(open_caller(project=project, debug=debug).close)


def main(arguments: Sequence[str]) -> int:
    """Run one command and answer its exit status."""
    try:
        get_command(app).main(args=list(arguments), prog_name="skydeck")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
