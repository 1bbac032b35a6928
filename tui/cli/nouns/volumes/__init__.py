"""`skydeck volume`.

noun         what a volume shows
verbs        what is done to one or many
snapshots    as it was at one moment
backups      kept in another place
types, qos   what an operator offers, and how fast it is
transfers    from project to project
attachments  which server has it
pools        where it may be put
"""

from __future__ import annotations

from tui.cli.commands import add_list, add_show, group
from tui.cli.nouns.volumes import attachments, backups, pools, qos, snapshots, transfers, types, verbs
from tui.cli.nouns.volumes.noun import VOLUME

app = group("Volumes: disks that outlive servers.")

app.command("create")(verbs.create)
add_list(app, VOLUME, help="List volumes.")
add_show(app, VOLUME, help="Show a volume.")
app.command("set")(verbs.set_)
app.command("unset")(verbs.unset)
app.command("delete")(verbs.delete)
app.command("revert")(verbs.revert)
app.add_typer(snapshots.app, name="snapshot")
app.add_typer(backups.app, name="backup")
app.add_typer(types.app, name="type")
app.add_typer(qos.app, name="qos")
app.add_typer(transfers.app, name="transfer")
app.add_typer(attachments.app, name="attachment")
app.add_typer(pools.app, name="backend")
