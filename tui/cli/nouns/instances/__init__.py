"""`skydeck server`.

noun      what a server shows
create    the form of a new one
verbs     what is done to one or many
interfaces  what is plugged in to one
volumes   which volumes it has; images of it
events    what happened to one
ssh       logging in
why       why one has no host, and what would fit
"""

from __future__ import annotations

from tui.cli.commands import add_list, add_show, group
from tui.cli.nouns import metrics
from tui.cli.nouns.instances import create, events, interfaces, ssh, verbs, volumes, why
from tui.cli.nouns.instances.noun import SERVER

app = group("Servers: the guests of a project.")

app.command("create")(create.create)
add_list(app, SERVER, help="List servers.")
add_show(app, SERVER, help="Show a server.")
app.command("delete")(verbs.delete)
app.command("start", help="Start servers that are SHUTOFF.")(verbs.power("start"))
app.command("stop", help="Stop servers: the guest is asked, and powered off when it does not obey.")(
    verbs.power("stop")
)
app.command("reboot")(verbs.reboot)
app.command("pause", help="Pause servers; they keep their memory.")(verbs.power("pause"))
app.command("unpause", help="Unpause servers.")(verbs.power("unpause"))
app.command("suspend", help="Suspend servers to disk.")(verbs.power("suspend"))
app.command("resume", help="Resume suspended servers.")(verbs.power("resume"))
app.command("lock")(verbs.lock)
app.command("unlock")(verbs.unlock)
app.command("set")(verbs.set_)
app.command("unset")(verbs.unset)
interfaces.add.command("volume")(volumes.add_volume)
interfaces.remove.command("volume")(volumes.remove_volume)
app.add_typer(interfaces.add, name="add")
app.add_typer(interfaces.remove, name="remove")
app.add_typer(volumes.app, name="volume")
app.add_typer(volumes.image, name="image")
app.add_typer(events.app, name="event")
app.command("metrics", help="Show what a server used, over time.")(metrics.command(SERVER, metrics.SERVER_COLUMNS))
app.command("ssh")(ssh.ssh)
app.command("tunnel", hidden=True)(ssh.tunnel)
app.command("why")(why.why)
