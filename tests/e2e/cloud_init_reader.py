"""What cloud-init makes of the machine it runs on, as JSON on stdout. Run by the distribution's own python.

python3 cloud_init_reader.py {OpenStack|ConfigDrive|NoCloud|Ec2} CLOUD_DIRECTORY
"""

import importlib
import json
import logging
import sys

from cloudinit import dmi, helpers, sources, util

name, cloud = sys.argv[1:]
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
dmi.DMI_SYS_PATH = f"{cloud}/dmi"
dmi.is_container = lambda: False  # tests may run in one; guests do not
module = importlib.import_module(f"cloudinit.sources.DataSource{name}")
(kind,) = {one for one, needs in module.datasources if one.__name__ == f"DataSource{name}"}


class Distro:
    """As much of cloudinit.distros.Distro as a datasource asks before it was chosen."""

    def get_tmp_exec_path(self):
        return cloud


paths = helpers.Paths({"cloud_dir": f"{cloud}/lib", "run_dir": f"{cloud}/run"})
found = kind({"datasource_list": [name], "datasource": {name: {"max_wait": 5, "timeout": 2}}}, Distro(), paths)
accepted = found._get_data()
network = found.network_config if accepted else None
print(
    json.dumps(
        {
            "accepted": accepted,
            "text": str(found),
            "instance_id": found.get_instance_id() if accepted else None,
            "hostname": found.metadata.get("local-hostname") if accepted else None,
            "keys": found.get_public_ssh_keys() if accepted else None,
            "zone": found.availability_zone if accepted else None,
            "user_data": util.decode_binary(found.get_userdata_raw() or b"") if accepted else None,
            "meta": found.metadata.get("meta") if accepted else None,
            "network": network,
            "files": {path: util.decode_binary(data) for path, data in getattr(found, "files", {}).items()},
            "unset": network == sources.UNSET,
        },
        default=str,
    )
)
