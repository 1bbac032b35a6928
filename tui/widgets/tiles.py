"""Tiles of numbers in columns, with a cursor that stands on one number and stays on it whatever moves."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.widget import Widget

from tui.keymap import moving
from tui.text import safe
from tui.views.pulse import Spot, Tile, columns_of, heights, shown
from tui.widgets.lines import TONES, fit, sized

GAP = 2
"""Cells between columns."""


class Tiles(Widget, can_focus=True):
    """The screen gives tiles (`show`); the widget places them, and says which number was opened."""

    BINDINGS = [
        Binding("right,l", "column(1)", "the column to the right", id="tiles.right", show=False),
        Binding("left,h", "column(-1)", "the column to the left", id="tiles.left", show=False),
        Binding("tab", "tile(1)", "the next tile", id="tiles.next", show=False),
        Binding("shift+tab", "tile(-1)", "the tile before", id="tiles.before", show=False),
        *moving(down="step(1)", up="step(-1)", top="edge(0)", bottom="edge(-1)"),
    ]

    COMPONENT_CLASSES = {"tiles--cursor"}

    DEFAULT_CSS = """
    Tiles { height: 1fr; }
    Tiles > .tiles--cursor { background: $primary 45%; text-style: bold; }
    Tiles:nocolor > .tiles--cursor { text-style: bold reverse; }
    """

    class Moved(Message):
        """The cursor is on another number."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Tiles.Moved)

    class Opened(Message):
        """A number was clicked twice."""

    def __init__(self, *, glyphs: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._tiles: Sequence[Tile] = ()
        self._placed: list[list[tuple[Tile, tuple[Spot, ...], int]]] = []
        """Columns of (tile, its spots in sight, the line of its title)."""
        self._stood = (0, 0)
        """(column, line) of the cursor when it was last drawn: where it goes on when its number is gone."""
        self.cursor: str | None = None

    def show(self, tiles: Sequence[Tile]) -> None:
        """Draw these from now on."""
        self._tiles = tiles
        self._place()

    @property
    def spot(self) -> Spot | None:
        """The number under the cursor."""
        return next((spot for _, _, spot in self._spots() if spot.key == self.cursor), None)

    # ------------------------------------------------------------------ placing

    def _place(self) -> None:
        width, height = self.size
        if not (width and height):
            return
        self._placed = []
        for column in columns_of(self._tiles, width):
            line, placed = 0, []
            for tile, lines in zip(column, heights(column, height), strict=True):
                if line + 1 >= height:
                    break  # a terminal so small shows the first tiles: no cursor goes where nothing is drawn
                placed.append((tile, shown(tile, lines, last=tile is column[-1]), line))
                line += lines
            self._placed.append(placed)
        spots = self._spots()
        if spots and all(spot.key != self.cursor for _, _, spot in spots):
            self.cursor = min(spots, key=lambda at: (abs(at[0] - self._stood[0]), abs(at[1] - self._stood[1])))[2].key
        self._remember()
        self.refresh()

    def _spots(self) -> list[tuple[int, int, Spot]]:
        """(column, line, spot) of all that is in sight, column by column."""
        return [
            (column, line + 1 + at, spot)
            for column, placed in enumerate(self._placed)
            for _, spots, line in placed
            for at, spot in enumerate(spots)
        ]

    def _remember(self) -> None:
        for column, line, spot in self._spots():
            if spot.key == self.cursor:
                self._stood = column, line

    def _widths(self) -> list[int]:
        count = max(1, len(self._placed))
        room = self.size.width - GAP * (count - 1) - 2
        return [room // count + (at < room % count) for at in range(count)]

    # ------------------------------------------------------------------ moving

    def _stand_on(self, key: str) -> None:
        self.cursor = key
        self._remember()
        self.refresh()
        self.post_message(self.Moved())

    def action_step(self, by: int) -> None:
        keys = [spot.key for _, _, spot in self._spots()]
        if self.cursor in keys:
            self._stand_on(keys[max(0, min(len(keys) - 1, keys.index(self.cursor) + by))])

    def action_column(self, by: int) -> None:
        column, line = self._stood
        beside = [(abs(at - line), spot.key) for place, at, spot in self._spots() if place == column + by]
        if beside:
            self._stand_on(min(beside, key=lambda found: found[0])[1])

    def action_tile(self, by: int) -> None:
        firsts = [spots[0].key for placed in self._placed for _, spots, _ in placed if spots]
        here = next(
            (
                spots[0].key
                for placed in self._placed
                for _, spots, _ in placed
                if self.cursor in {s.key for s in spots}
            ),
            None,
        )
        if here is not None:
            self._stand_on(firsts[(firsts.index(here) + by) % len(firsts)])

    def action_edge(self, end: int) -> None:
        if spots := self._spots():
            self._stand_on(spots[end][2].key)

    def on_click(self, event: events.Click) -> None:
        left = 1
        for column, width in enumerate(self._widths()):
            if left <= event.x < left + width:
                for place, line, spot in self._spots():
                    if (place, line) == (column, event.y):
                        self._stand_on(spot.key)
                        if event.chain == 2:
                            self.post_message(self.Opened())
            left += width + GAP

    # ------------------------------------------------------------------ drawing

    def on_resize(self) -> None:
        self._place()

    def render(self) -> Text:
        cursor = self.get_component_rich_style("tiles--cursor")
        widths = self._widths()
        grid = [[Text(" " * width) for width in widths] for _ in range(self.size.height)]
        for column, (placed, width) in enumerate(zip(self._placed, widths, strict=False)):
            for tile, spots, line in placed:
                if line < len(grid):
                    grid[line][column] = self._title(tile, width)
                for at, spot in enumerate(spots, line + 1):
                    if at < len(grid):
                        grid[at][column] = _line(spot, width, cursor if spot.key == self.cursor else None)
        lines = [Text(" ") + Text(" " * GAP).join(row) + Text(" ") for row in grid]
        return Text("\n", no_wrap=True, end="").join(lines)

    def _title(self, tile: Tile, width: int) -> Text:
        dash = "-" if self._glyphs == "ascii" else "─"
        title = safe(tile.title)
        head = fit(title, min(width, cell_len(title)))
        rule = dash * max(0, width - cell_len(head) - 1)
        return Text.assemble((head, TONES["head"]), (" " + rule if rule else "", TONES["dim"]))


def _line(spot: Spot, width: int, cursor: Style | None) -> Text:
    text = Text()
    for content, tone in sized(spot.draw(width), width):
        # On the cursor's background "dim" could not be read.
        style = TONES["" if cursor is not None and tone in ("dim", "off") else tone]
        text.append(content, style)
    if cursor is not None:
        text.stylize(cursor)
    return text
