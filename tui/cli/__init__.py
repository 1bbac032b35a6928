"""The command line, in the grammar of the openstack client: `skydeck NOUN VERB`.

root        the nouns, loaded when named; errors and exit statuses
caller      one command's store, project and engine
noun        what a noun declares: columns, fields, filters
commands    the list, show and many-at-once commands every noun shares
options     options that many commands share
output      table, json, yaml, csv, value
report      errors, funnels and progress, on stderr
wait        watching operations to their end
nouns/      a file per noun: its declaration and its own commands
"""

COMPLETING = "_SKYDECK_COMPLETE"
"""The environment variable by which a shell's completion script asks."""
