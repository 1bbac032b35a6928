"""The grammar: every noun and verb is there, loads nothing it does not need, and completes."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.main import get_command

from core.identity import quotas
from core.lists import LISTINGS
from tests.tui.cli.conftest import Cli
from tui.cli import nouns
from tui.cli.noun import Noun
from tui.cli.nouns.quotas import RESOURCES
from tui.cli.root import app

GRAMMAR = """
server create|list|show|delete|start|stop|reboot|pause|unpause|suspend|resume|lock|unlock|set|unset
server ssh|tunnel|metrics|why
server add network|port
server add fixed ip
server add floating ip
server add security group
server add volume
server remove network|port
server remove volume
server volume list
server image create
server remove fixed ip
server remove floating ip
server remove security group
server event list
console attach|search
console log show
console url show
image create|list|show|set|unset|delete|import|save
image add project
image remove project
image member list|get
image cache list|prefetch|pin|unpin|prune
image catalog list
volume create|list|show|set|unset|delete|revert
volume snapshot create|list|show|set|unset|delete
volume backup create|list|show|set|delete|restore|verify|drill
volume type create|list|show|set|unset|delete
volume qos create|list|show|set|unset|delete|associate|disassociate
volume transfer request create|list|show|accept|delete
volume attachment list|show
volume backend pool list
storage backend create|list|show|set|delete
storage host show
limits show
flavor create|list|show|set|unset|delete
keypair create|list|show|delete
project create|list|show|set|delete|purge
quota show|set
network create|list|show|set|delete|auto|purge
network rbac create|list|show|delete
subnet create|list|show|set|delete
port create|list|show|set|unset|delete
router create|list|show|set|unset|delete
router add subnet|port
router remove subnet|port
floating ip create|list|show|set|unset|delete
security group create|list|show|set|delete
security group rule create|list|show|delete
aggregate create|list|show|delete
aggregate add host
aggregate remove host
availability zone list
host add|list|show|set|remove|repair|maintain|metrics
hypervisor list|show
hypervisor stats show
operation list|show|cancel|retry
event list|show
audit list|show
finding list|show|reap
search
serve
trace
undo
verify
completion
"""

SHARED = ("--project", "--all-projects", "--limit", "--marker", "--sort", "--long", "--name", "--format", "--column")
"""What every list takes."""

UNSHARED = (
    ["server", "event", "list"],
    ["server", "volume", "list"],
    ["availability", "zone", "list"],
    ["image", "catalog", "list"],
)
"""Lists that are no listing's."""

COMMANDS = [[*line.split()[:-1], verb] for line in GRAMMAR.strip().splitlines() for verb in line.split()[-1].split("|")]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help(cli: Cli, words: list[str]) -> None:
    helped = cli.ok(*words, "--help")
    assert helped.startswith(f"Usage: skydeck {' '.join(words)}")


def test_the_grammar_names_every_command() -> None:
    found = []

    def walk(command: object, words: list[str]) -> None:
        children = getattr(command, "commands", None)
        if children is None:
            found.append(words)
            return
        for name in children:
            walk(children[name], [*words, name])

    walk(get_command(app), [])
    assert sorted(found) == sorted(COMMANDS)


def _nouns() -> list[Noun]:
    found: dict[str, Noun] = {}
    for module in pkgutil.walk_packages(nouns.__path__, "tui.cli.nouns."):
        loaded = importlib.import_module(module.name)
        found |= {value.word: value for value in vars(loaded).values() if isinstance(value, Noun)}
    return list(found.values())


@pytest.mark.parametrize("noun", _nouns(), ids=lambda noun: noun.word)
def test_a_noun_names_columns_its_listing_has(noun: Noun) -> None:
    listing = LISTINGS[noun.kind]
    for each in noun.filters:
        assert each.column in listing.columns or each.column in listing.terms
    for shown in (noun.columns, noun.fields):
        headers = [each.header for each in shown]
        assert len(headers) == len(set(headers))


def test_the_quotas_that_can_be_set_are_those_there_are() -> None:
    assert set(RESOURCES) == set(quotas.DEFAULTS)


def test_every_list_takes_the_shared_options(cli: Cli) -> None:
    for words in COMMANDS:
        if words[-1] == "list" and words not in UNSHARED:
            helped = cli.ok(*words, "--help")
            for option in (
                "--project",
                "--all-projects",
                "--limit",
                "--marker",
                "--sort",
                "--long",
                "--name",
                "-f",
                "-c",
            ):
                assert option in helped


def test_help_and_version_load_no_database_and_no_app() -> None:
    heavy = ("sqlmodel", "sqlalchemy", "textual", "asyncssh")
    probe = f"""
import sys
from tui.__main__ import main
try:
    main()
finally:
    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""
    for arguments in (["--version"], ["server", "create", "--help"], ["--help"]):
        done = subprocess.run([sys.executable, "-c", probe, *arguments], capture_output=True, text=True, check=True)
        assert done.stderr == "[]\n"


def test_version(cli: Cli) -> None:
    begun = time.perf_counter()
    done = cli.process("--version")
    print(f"skydeck --version: {1000 * (time.perf_counter() - begun):.0f} ms")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"skydeck {version('skydeck')}\n".encode(), b"")


def test_a_misspelt_command_is_told_with_a_hint(cli: Cli) -> None:
    said = cli.refused(2, "server", "lst")
    assert said == "error: No such command 'lst'. Did you mean 'list', 'set'?\nhint: skydeck server --help\n"
    assert "hint: skydeck --help" in cli.refused(2, "servers", "list")


def test_a_noun_alone_shows_its_help(cli: Cli) -> None:
    assert cli.refused(2, "flavor").startswith("Usage: skydeck flavor")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(cli: Cli, shell: str, tmp_path: Path) -> None:
    script = cli.ok("completion", shell)
    assert "_SKYDECK_COMPLETE" in script
    assert "skydeck" in script


def test_names_complete(cli: Cli) -> None:
    def completed(words: str) -> list[str]:
        done = cli.process(
            _SKYDECK_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1)
        )
        assert done.returncode == 0
        return done.stdout.decode().split()

    assert completed("skydeck ser") == ["server", "serve"]
    assert completed("skydeck flavor sh") == ["show"]
    assert completed("skydeck flavor show m1.x") == ["m1.xlarge"]
