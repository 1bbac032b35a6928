"""`skydeck image`.

noun     what an image shows
bytes    how its bytes come in and out
verbs    what is changed about it
members  who a shared one is shown to
caches   which hosts hold it; and a catalog of well-known ones
"""

from __future__ import annotations

from tui.cli.commands import add_list, add_show, group
from tui.cli.nouns.images import bytes, caches, members, verbs
from tui.cli.nouns.images.noun import IMAGE

app = group("Images of disks, kernels and ramdisks.")

app.command("create")(bytes.create)
add_list(app, IMAGE, help="List images.")
add_show(app, IMAGE, help="Show an image.")
app.command("set")(verbs.set_)
app.command("unset")(verbs.unset)
app.command("delete")(verbs.delete)
app.command("import")(bytes.import_)
app.command("save")(bytes.save)
app.add_typer(members.add, name="add")
app.add_typer(members.remove, name="remove")
app.add_typer(members.app, name="member")
app.add_typer(caches.app, name="cache")
app.add_typer(caches.catalog, name="catalog")
