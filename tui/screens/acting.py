"""A screen that does verbs: looks up who is meant at the key press, asks what has to be asked, runs, and tells.

The browser acts on the cursor or the marks, the detail page on its one object; everything else is the same.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textual import work
from textual.binding import Binding, BindingsMap

from tui import readonly
from tui.banner import banner
from tui.export import Wanted
from tui.header import freshness, identity, usage
from tui.locator import Locator
from tui.screens.trusting import TrustingScreen
from tui.screens.typing import TypingScreen
from tui.text import safe
from tui.verbs import Choice, Confirm, Needs, Pick, Row, Verb, binding_id, reason
from tui.view import Form, View
from tui.widgets.bar import Bar, footer
from tui.widgets.lines import Line

if TYPE_CHECKING:
    from core.errors import SkydeckError
    from tui.app import Skydeck
    from tui.glance import Header

YES = (Choice(key="y", label="[y]es", value="yes"),)

EARLY = frozenset(
    ("command", "filter", "back", "help", "messages", "columns", "wide", "sort_left", "sort_right", "reverse", "hold")
)
"""Actions that need no store: whoever types at once is not refused."""


class ActingScreen(TrustingScreen, TypingScreen):
    """Needs `view`; subclasses say which rows a verb means."""

    app: Skydeck
    view: View
    marking = False
    """Marks were asked for, and are not there yet."""

    # ------------------------------------------------------------------ what subclasses give

    def under_cursor(self) -> Row | None:
        raise NotImplementedError

    def marked(self) -> list[Row]:
        return []

    def general(self) -> Sequence[Verb]:
        """Verbs of the screen itself."""
        raise NotImplementedError

    @property
    def verbs(self) -> tuple[Verb, ...]:
        """The noun's verbs that there are: those that change something are not, in read-only mode."""
        here = self.app.keys.verbs(self.view.kind, self.view.verbs)
        return readonly.offered(here, read_only=self.app.seat.read_only)

    @property
    def generals(self) -> tuple[Verb, ...]:
        """Verbs of the screen, at the keys they have now."""
        return readonly.offered(self.app.keys.verbs("app", self.general()), read_only=self.app.seat.read_only)

    def acted(self) -> None:
        """Something was done: look again."""

    def called(self, row: Row) -> str:
        """An object's name for a person; of one without a name the beginning of its key."""
        return safe(str(row[self.view.name] or "")) or str(row[self.view.key])[:8]

    # ------------------------------------------------------------------ keys

    def bind_verbs(self) -> None:
        """The keys of the present view. Rebuilt when the view changes, so a class-level table cannot hold them."""
        bindings = [
            Binding(verb.key, f"do('{verb.name}')", verb.label, id=binding_id(kind, verb), show=False)
            for kind, verbs in ((self.view.kind, self.verbs), ("app", self.generals))
            for verb in verbs
        ]
        self._bindings = BindingsMap(bindings)

    def verb(self, name: str) -> Verb:
        return next(verb for verb in (*self.verbs, *self.generals) if verb.name == name)

    def targets(self, verb: Verb) -> list[Row]:
        """Who is meant now."""
        if verb.needs is Needs.NOTHING:
            return []
        if verb.needs is Needs.OBJECTS and (marked := self.marked()):
            return marked
        row = self.under_cursor()
        return [row] if row is not None else []

    def why_not(self, verb: Verb) -> tuple[str, str] | None:
        """Why the verb would be refused: when it is for every object that is meant."""
        if not self.app.seat.ready and verb.action not in EARLY:
            return "the store is not open yet", ""
        rows = self.targets(verb)
        if verb.needs is Needs.NOTHING:
            return None
        if self.marking and verb.needs is Needs.OBJECTS:
            # Typed ahead of the marks it was meant for, it would act on the cursor's object alone.
            return "the marks are still being read", "Press it again."
        if not rows:
            return reason(verb, self.app.seat.ctx, None)
        # Of marks far out of sight only key and name are at hand: core checks those when it is asked.
        known = [row for row in rows if set(row) > {self.view.key, self.view.name}]
        reasons = [reason(verb, self.app.seat.ctx, row) for row in known] or [None]
        return reasons[0] if all(why is not None for why in reasons) else None

    def draw_keys(self) -> None:
        """The footer, with what cannot be done now greyed."""
        entries = [(verb.symbol, verb.label, self.why_not(verb) is None) for verb in self.verbs if verb.footer]
        self.query_one(Bar).keys(lambda width: footer(entries, width))

    def draw_header(self, header: Header | None) -> None:
        """The top line, as of now."""
        seat, width = self.app.seat, self.size.width
        feed = self.app.feed
        fresh = freshness(header, silence=feed.silence if feed else 0.0, trouble=feed.trouble if feed else "")
        line = self.query_one("#header", Line)
        self._draw_banner()
        if not seat.ready:
            line.show([("skydeck", "head"), ("  opening…", "dim")], fresh if feed else [])
            return
        left = identity(seat.cloud, seat.ctx, width=width, read_only=seat.read_only)
        line.show(left, [*(usage(header, width=width) if header else []), *fresh])

    def _draw_banner(self) -> None:
        """A line below the top one while something is away."""
        said = banner(self.app.away)
        there = self.query("#banner")
        if said and not there:
            line = Line(id="banner")
            line.show(said)
            self.mount(line, after="#header")
        elif said:
            there.only_one(Line).show(said)
        elif there:
            there.remove()

    # ------------------------------------------------------------------ doing

    def action_do(self, name: str) -> None:
        verb = self.verb(name)
        if (why := self.why_not(verb)) is not None:
            one = next(iter(self.targets(verb)), None) if self.app.seat.ready else None
            about = (self.view.kind, str(one[self.view.key])) if one is not None else None
            self.app.tell(f"cannot {verb.name}: {why[0]}", why[1], tone="warn", about=about)
            return
        rows = [dict(row) for row in self.targets(verb)]  # frozen: what is meant is what was under the cursor now
        if len(rows) == 1 and (plan := verb.plan(rows[0])):
            self.lay_out(plan, rows[0])
        elif verb.action:
            self.go(verb.action, rows[0] if rows else None)
        elif verb.form is not None:
            self.fill_in(verb.form, rows[0] if rows else None)
        elif verb.pick is not None:
            self.act(verb, rows, self.picked(verb.pick, rows[0]))
        else:
            # Asked before this returns: keys typed ahead answer the question, they are no verbs.
            self.act(verb, rows, self.confirmed(verb, [self.called(row) for row in rows]))

    def go(self, action: str, row: Row | None) -> None:
        """A verb that goes somewhere: `go_<action>` of the screen."""
        getattr(self, f"go_{action}")(row)

    @work(group="act")
    async def act(self, verb: Verb, rows: list[Row], answer: asyncio.Future[str | None]) -> None:
        seat, looking, ctx = self.app.seat, self.app.seat.ctx, self.app.seat.request()
        value = await answer
        if value is None:
            return
        names = [self.called(row) for row in rows]
        done, refused = [], []
        from core import expected
        from core.errors import SkydeckError

        assert verb.run is not None
        run, listing = verb.run, seat.listings[self.view.kind]
        config = (seat.config,) if verb.configured else ()
        for row, name in zip(rows, names, strict=True):

            def change(session: Any, row: Row = row) -> object:
                # In the transaction that acts: what was seen at the key press cannot change unnoticed any more.
                expected.check(session, looking, listing, row)
                return run(session, ctx, *config, row[listing.key], value)

            try:
                await seat.write(change)
                done.append(name)
            except SkydeckError as bad:
                refused.append((name, bad))
        self.acted()
        if done:
            self.app.see_to_engine()
        self._report(verb, done, refused, {name: row[listing.key] for row, name in zip(rows, names, strict=True)})

    def _report(
        self, verb: Verb, done: list[str], refused: list[tuple[str, SkydeckError]], keys: dict[str, str]
    ) -> None:
        """Say what came of it. `keys`: name to key, for the messages to lead back."""
        kind = self.view.kind
        for name, bad in refused[1:]:
            self.app.keep(f"{name}: {bad.title}", bad.hint, tone="bad", about=(kind, keys[name]))
        if refused:
            name, bad = refused[0]
            many = f"{verb.done} {len(done)}, refused {len(refused)}: " if done or len(refused) > 1 else ""
            self.app.tell(f"{many}{bad.title}", bad.hint, tone="bad", about=(kind, keys[name]))
            if many and self.is_current:
                from tui.screens.results import Result, Results

                results = [Result(name, bad.title, bad.hint) for name, bad in refused]
                self.app.push_screen(Results(verb.name, verb.done, [*results, *(Result(name) for name in done)]))
        elif done:
            self.app.tell(f"{verb.done} {_listed(done)}", tone="ok", about=(kind, keys[done[0]]))

    def confirmed(self, verb: Verb, names: list[str]) -> asyncio.Future[str | None]:
        """The chosen value, "" when nothing is asked; None when the person thought better of it."""
        tier = verb.tier(len(names))
        what = _listed(names) if len(names) == 1 else f"{len(names)} marked ({_listed(names)})"
        protected = self.app.seat.cloud in self.app.settings.protected_clouds
        if tier is Confirm.BAR and (verb.choices or not protected):
            tone = "alarm" if verb.dangerous else "ask"
            question = f"{verb.name.capitalize()} {what}?"
            return self.query_one(Bar).ask(question, verb.choices or YES, tone=tone)
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        if tier is not Confirm.NONE:
            from tui.screens.confirm import TypeOut

            word = names[0] if len(names) == 1 else f"{verb.name} {len(names)}"
            dialog = TypeOut(f"{verb.help}: {what}", word)
            self.app.push_screen(dialog, lambda agreed: answer.set_result("yes" if agreed else None))
        else:
            answer.set_result("")
        return answer

    def picked(self, pick: Pick, row: Row) -> asyncio.Future[str | None]:
        """What was chosen from the list that opens now; None when nothing was."""
        from tui.screens.pick import PickScreen

        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        name = self.called(row)
        self.app.push_screen(PickScreen(pick, row, name), answer.set_result)
        return answer

    # ------------------------------------------------------------------ going, where both screens go alike

    def go_menu(self, row: Row | None) -> None:
        """All actions with their keys, and why some cannot be done."""
        from tui.screens.menu import Menu

        entries = [(verb, self.why_not(verb)) for verb in self.verbs]
        row = self.under_cursor()
        title = self.called(row) if row else self.view.title

        reasons = {verb.name: (verb, why) for verb, why in entries if why is not None}

        def chosen(name: str | None) -> None:
            if name in reasons:
                self.explain(row, [reasons[name]])
            elif name is not None:
                self.action_do(name)

        self.app.push_screen(Menu(title, entries), chosen)

    def go_help(self, row: Row | None) -> None:
        from tui.screens.help import Help

        self.app.push_screen(Help(self.view, self.verbs, self.generals))

    def go_messages(self, row: Row | None) -> None:
        from tui.finding.messages import MessagesScreen

        self.app.push_screen(MessagesScreen())

    def go_copy(self, row: Row | None) -> None:
        assert row is not None
        options = [_copy_choice(name) for name in (*self.view.copies, "json", "locator")]
        self._copy(row, self.query_one(Bar).ask(f"Copy of {self.called(row)}:", options, tone="on"))

    @work(group="act")
    async def _copy(self, row: Row, answer: asyncio.Future[str | None]) -> None:
        field = await answer
        if field is None:
            return
        text = str(row.get(field, ""))
        if field == "json":
            text = json.dumps(row, default=str, indent=1)
        elif field == "locator":
            text = self.locator_text(row)
        if self.app.copy(text):
            self.app.tell(f"copied the {field}" + (f": {safe(text)}" if field != "json" else ""), tone="ok")

    def locator_text(self, row: Row | None = None) -> str:
        """Where this is, as `:` and the command line take it: of a page about an object the list of that alone."""
        return f":{self.view.aliases[0]} /{self.view.key}={row[self.view.key] if row else ''}"

    def go_export(self, row: Row | None) -> None:
        from tui.screens import exporting

        exporting.ask(self)

    def export(self, form: str = "json", path: str = "") -> None:
        """Write to a file what there are rows of, or the screen itself."""
        from tui.screens import exporting

        exporting.begin(self, form, path)

    @property
    def exported(self) -> str:
        """What `export` writes, for a person."""
        return self.view.title.lower()

    def to_export(self) -> Wanted:
        """Which rows it writes: of an object's page, the object."""
        row = self.under_cursor()
        keys = frozenset([row[self.view.key]] if row else [])
        return Wanted(kind=self.view.kind, sort=self.view.sort, where={}, text="", keys=keys)

    def go_console(self, row: Row | None) -> None:
        assert row is not None
        self.app.attach(row["id"], str(row["name"]))

    def go_ssh(self, row: Row | None) -> None:
        assert row is not None
        self.app.log_in(row["id"], str(row["name"]))

    def go_display(self, row: Row | None) -> None:
        assert row is not None
        self.app.show_display(row["id"], str(row["name"]))

    def go_trace(self, row: Row | None) -> None:
        assert row is not None
        from tui.screens.trace import TraceScreen

        self.app.push_screen(TraceScreen(row["id"], self.called(row)))

    def go_new(self, row: Row | None) -> None:
        if self.view.form is None:
            title, hint = self.view.cannot_new or (f"{self.view.title} cannot be made here", "")
            self.app.tell(title, hint, tone="warn")
            return
        # A new one is often like the one under the cursor: in the same network, of the same group.
        self.fill_in(self.view.form, self.under_cursor())

    def go_clone(self, row: Row | None) -> None:
        """The form of a new one, filled in as this one is."""
        assert row is not None
        form = self.view.form
        assert form is not None
        assert form.like is not None
        self.fill_in(dataclasses.replace(form, load=form.like), row)

    def go_edit_yaml(self, row: Row | None) -> None:
        """Change what its form changes, as YAML."""
        assert row is not None
        from tui.forms import as_yaml

        form = self.verb("edit").form
        assert form is not None
        as_yaml.change(self, form, row)

    def go_used_by(self, row: Row | None) -> None:
        """What depends on it."""
        from tui.finding.kin import KinScreen

        assert row is not None
        self.app.push_screen(KinScreen(self.view, row))

    def go_tree(self, row: Row | None) -> None:
        """What it belongs to, and what depends on it, level by level."""
        from tui.finding.kin import KinScreen

        assert row is not None
        self.app.push_screen(KinScreen(self.view, row, up=True))

    def go_open_target(self, row: Row | None) -> None:
        """The page of what an operation or an event is about; when that is gone, the whole of what is told of it."""
        from tui.finding import opening

        assert row is not None
        opening.open_object(self.app, row["object_kind"], row["object_id"], instead=lambda: self.go("describe", row))

    def go_acts_of(self, row: Row | None) -> None:
        """The audit trail of a user."""
        from tui.finding import opening

        assert row is not None
        opening.show_list(self.app, Locator(kind="event", filter=f"actor={row['name']}"))

    def go_owner(self, row: Row | None) -> None:
        """The page of what it belongs to."""
        from tui.finding import opening

        assert row is not None
        opening.owner(self.app, self.view, row)

    def go_topology(self, row: Row | None) -> None:
        from tui.screens.topology import TopologyScreen

        self.app.push_screen(TopologyScreen())

    def go_pulse(self, row: Row | None) -> None:
        from tui.screens.pulse import PulseScreen

        self.app.push_screen(PulseScreen())

    def fill_in(self, form: Form, row: Row | None) -> None:
        """Open a form, about a row or about none."""
        from tui.screens.form import FormScreen

        self.app.push_screen(FormScreen(self.view, form, row))


def _copy_choice(name: str) -> Choice:
    """The field's first letter chooses it; `ip` gives its own to `id`."""
    at = 1 if name == "ip" else 0
    return Choice(key=name[at], label=f"{name[:at]}[{name[at]}]{name[at + 1 :]}", value=name)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown}, …" if len(names) > 3 else shown
