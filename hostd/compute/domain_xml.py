"""The libvirt domain of an instance, as XML. Pure: the same input gives the same bytes.

Nothing of the XML is made by pasting strings: what a tenant may choose (the display name, the kernel command
line) can only ever be text inside an element. Names and paths come from uuids alone.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

import attrs

from hostd.spec import Accel, InstanceSpec, Nic
from hostd.storage.disks import BACKING_FORMATS
from hostd.storage.instances import CONFIG, CONSOLE, EPHEMERAL, ROOT, SEED, SWAP, base_file, boot_files

_UNPRINTABLE: Final = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

NAMESPACE: Final = "https://skydeck.dev/xmlns/instance/1"
"""Of our element in a domain's metadata. Stored in every domain: never changed."""

_OURS: Final = f"metadata/{{{NAMESPACE}}}instance"

PREFIX: Final = "skydeck-"
"""Of our domains' names; the instance's uuid follows."""

ROOT_PORTS: Final = 16
"""PCIe root ports of a guest: each disk, NIC and controller takes one, and what is hot-plugged later needs one free."""

TRANSLATION_CACHE_MIB: Final = 32
"""TCG's code cache. Its default is a share of the host's memory and triples a small guest's size."""

X86_64_V2: Final = ("ssse3", "sse4.1", "sse4.2", "popcnt")
"""What qemu64 lacks of x86-64-v2, without which the C library of current enterprise distributions stops."""

QUARANTINE_TITLE: Final = "quarantined by skydeck: its controller does not know it"

LIFECYCLE: Final = {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}


@attrs.frozen(kw_only=True)
class Hardware:
    """What the host decides about a guest's hardware."""

    accel: Accel
    type: str
    """The canonical versioned name, e.g. pc-q35-7.2: kept for the guest's life, so that its hardware stays."""
    cache: str
    """Cache mode of its disks: none, or writeback where the file system has no O_DIRECT."""


@attrs.frozen(kw_only=True)
class Places:
    """Where the guest's files are."""

    directory: Path
    console_socket: Path


def bridge_name(network_id: str) -> str:
    """The bridge of a network: 15 characters, the longest name Linux takes."""
    return f"skb-{network_id.replace('-', '')[:11]}"


def tap_name(port_id: str) -> str:
    """The host's end of a guest's interface."""
    return f"skt-{port_id.replace('-', '')[:11]}"


def render(spec: InstanceSpec, hardware: Hardware, places: Places) -> str:
    """The domain's XML, with the digest of everything else in it inside its metadata."""
    domain = _domain(spec, hardware, places)
    ours = domain.find(_OURS)
    assert ours is not None
    ours.set("digest", hashlib.sha256(_bytes(domain)).hexdigest())
    return _bytes(domain).decode()


def digest_of(xml: str) -> str:
    """The digest inside a domain's XML that `render` made."""
    return read_metadata(ET.fromstring(xml).find(_OURS))["digest"]


def read_metadata(element: ET.Element | str | None) -> dict[str, str]:
    """Our metadata element as a dict: uuid, machine, digest, and quarantined when it is. Empty when it is not ours."""
    if isinstance(element, str):
        try:
            element = ET.fromstring(element)
        except ET.ParseError:
            return {}
    return dict(element.attrib) if element is not None else {}


def quarantined(xml: str) -> str:
    """A domain's XML with the mark that keeps it from being started, and a title for whoever lists domains by hand.

    The next `render` of the instance lifts it, and so does `released`: nothing else of the domain is changed.
    """
    domain = ET.fromstring(xml)
    ours = domain.find(_OURS)
    if ours is None:
        metadata = domain.find("metadata")
        ours = _add(_add(domain, "metadata") if metadata is None else metadata, f"{{{NAMESPACE}}}instance")
        ours.set("uuid", domain.findtext("uuid", ""))
    ours.set("quarantined", "yes")
    title = domain.find("title")
    if title is None:
        title = _add(domain, "title")
    title.text = QUARANTINE_TITLE
    return _bytes(domain).decode()


def released(xml: str) -> str:
    """The XML of a quarantined domain without the mark."""
    domain = ET.fromstring(xml)
    ours, title = domain.find(_OURS), domain.find("title")
    if ours is not None:
        ours.attrib.pop("quarantined", None)
    if title is not None and title.text == QUARANTINE_TITLE:
        domain.remove(title)
    return _bytes(domain).decode()


def _bytes(domain: ET.Element) -> bytes:
    ET.register_namespace("skydeck", NAMESPACE)
    ET.indent(domain)
    text: bytes = ET.tostring(domain, encoding="utf-8")
    return text + b"\n"


def _add(
    parent: ET.Element, tag: str, attributes: dict[str, str] | None = None, *, text: str | None = None
) -> ET.Element:
    child = ET.SubElement(parent, tag, attributes or {})
    child.text = text
    return child


def _domain(spec: InstanceSpec, hardware: Hardware, places: Places) -> ET.Element:
    domain = ET.Element("domain", {"type": "kvm" if hardware.accel.mode == "kvm" else "qemu"})
    _add(domain, "name", text=PREFIX + spec.uuid)
    _add(domain, "uuid", text=spec.uuid)
    metadata = _add(domain, "metadata")
    ours = _add(metadata, f"{{{NAMESPACE}}}instance", {"uuid": spec.uuid, "machine": hardware.type})
    _add(ours, f"{{{NAMESPACE}}}project", text=spec.project_id)
    _add(ours, f"{{{NAMESPACE}}}name", text=printable(spec.name))
    _add(domain, "memory", {"unit": "MiB"}, text=str(spec.ram_mb))
    _add(domain, "vcpu", text=str(spec.vcpus))
    _sysinfo(domain, spec)
    _boot(domain, spec, hardware, places)
    _features(domain, spec, hardware)
    _cpu(domain, spec, hardware)
    _clock(domain, spec, hardware)
    for event, action in LIFECYCLE.items():
        _add(domain, event, text=action)
    # A guest that sleeps looks switched off to everyone but itself.
    power = _add(domain, "pm")
    _add(power, "suspend-to-mem", {"enabled": "no"})
    _add(power, "suspend-to-disk", {"enabled": "no"})
    _devices(domain, spec, hardware, places)
    return domain


def printable(text: str) -> str:
    """`text` without the characters that XML 1.0 cannot hold: libvirt would refuse the whole domain for one."""
    return _UNPRINTABLE.sub("?", text)


def _sysinfo(domain: ET.Element, spec: InstanceSpec) -> None:
    # By the product's name cloud-init knows OpenStack (cloudinit/sources/DataSourceOpenStack.py).
    system = _add(_add(domain, "sysinfo", {"type": "smbios"}), "system")
    for name, value in (("manufacturer", "skydeck"), ("product", "OpenStack Compute"), ("uuid", spec.uuid)):
        _add(system, "entry", {"name": name}, text=value)


def _boot(domain: ET.Element, spec: InstanceSpec, hardware: Hardware, places: Places) -> None:
    os = _add(domain, "os")
    _add(os, "type", {"arch": "x86_64", "machine": hardware.type}, text="hvm")
    kernel, ramdisk = boot_files(spec)
    if kernel:
        _add(os, "kernel", text=str(places.directory / kernel))
        if ramdisk:
            _add(os, "initrd", text=str(places.directory / ramdisk))
        if spec.cmdline:
            _add(os, "cmdline", text=printable(spec.cmdline))
    else:
        _add(os, "boot", {"dev": "hd"})
    _add(os, "smbios", {"mode": "sysinfo"})


def _features(domain: ET.Element, spec: InstanceSpec, hardware: Hardware) -> None:
    features = _add(domain, "features")
    _add(features, "acpi")
    _add(features, "apic")
    if hardware.accel.mode != "kvm":
        _add(_add(features, "tcg"), "tb-cache", {"unit": "MiB"}, text=str(TRANSLATION_CACHE_MIB))
    elif spec.os_type == "windows":
        hyperv = _add(features, "hyperv")
        _add(hyperv, "relaxed", {"state": "on"})
        _add(hyperv, "vapic", {"state": "on"})
        _add(hyperv, "spinlocks", {"state": "on", "retries": "8191"})


def _cpu(domain: ET.Element, spec: InstanceSpec, hardware: Hardware) -> None:
    if hardware.accel.mode == "kvm":
        cpu = _add(domain, "cpu", {"mode": "host-passthrough", "check": "none"})
    else:
        # Guests boot a fifth faster under TCG with qemu64 than with everything that TCG can emulate.
        cpu = _add(domain, "cpu", {"mode": "custom", "match": "exact", "check": "none"})
        _add(cpu, "model", {"fallback": "allow"}, text="qemu64")
    # One socket: some systems are licensed or limited by sockets.
    _add(cpu, "topology", {"sockets": "1", "dies": "1", "cores": str(spec.vcpus), "threads": "1"})
    if hardware.accel.mode != "kvm":
        for feature in X86_64_V2:
            _add(cpu, "feature", {"policy": "require", "name": feature})


def _clock(domain: ET.Element, spec: InstanceSpec, hardware: Hardware) -> None:
    windows = spec.os_type == "windows"
    clock = _add(domain, "clock", {"offset": "localtime" if windows else "utc"})
    _add(clock, "timer", {"name": "rtc", "tickpolicy": "catchup"})
    _add(clock, "timer", {"name": "hpet", "present": "no"})
    if hardware.accel.mode == "kvm":
        _add(clock, "timer", {"name": "pit", "tickpolicy": "delay"})
        if windows:
            _add(clock, "timer", {"name": "hypervclock", "present": "yes"})


def _devices(domain: ET.Element, spec: InstanceSpec, hardware: Hardware, places: Places) -> None:
    devices = _add(domain, "devices")
    for index, (name, role) in enumerate(_disks(spec)):
        _disk(devices, spec, hardware, path=places.directory / name, role=role, target=f"vd{chr(ord('a') + index)}")
    if spec.config_drive:
        # Cloud kernels have no AHCI driver: a CD on q35's own SATA would be invisible to them.
        _add(devices, "controller", {"type": "scsi", "index": "0", "model": "virtio-scsi"})
        for name, target in ((CONFIG, "sda"), (SEED, "sdb")):
            _cdrom(devices, path=places.directory / name, target=target)
    _add(devices, "controller", {"type": "usb", "model": "none"})
    _add(devices, "controller", {"type": "pci", "index": "0", "model": "pcie-root"})
    for index in range(1, ROOT_PORTS + 1):
        _add(devices, "controller", {"type": "pci", "index": str(index), "model": "pcie-root-port"})
    for nic in spec.nics:
        _interface(devices, nic)
    _console(devices, places)
    agent = _add(devices, "channel", {"type": "unix"})
    _add(agent, "target", {"type": "virtio", "name": "org.qemu.guest_agent.0"})
    if spec.os_type == "windows":
        _add(_add(devices, "video"), "model", {"type": "vga"})
    _add(devices, "memballoon", {"model": "virtio"})
    _add(_add(devices, "rng", {"model": "virtio"}), "backend", {"model": "random"}, text="/dev/urandom")


def _disks(spec: InstanceSpec) -> list[tuple[str, str]]:
    """File name and role of each disk, in the order the guest sees them."""
    disks = (
        (ROOT, "root", spec.image or spec.root_gb),
        (EPHEMERAL, "ephemeral0", spec.ephemeral_gb),
        (SWAP, "swap", spec.swap_mb),
    )
    return [(name, role) for name, role, there in disks if there]


def _disk(devices: ET.Element, spec: InstanceSpec, hardware: Hardware, *, path: Path, role: str, target: str) -> None:
    disk = _add(devices, "disk", {"type": "file", "device": "disk"})
    kind = "qcow2" if path.suffix == ".qcow2" else "raw"
    _add(disk, "driver", {"name": "qemu", "type": kind, "cache": hardware.cache, "discard": "unmap"})
    _add(disk, "source", {"file": str(path)})
    _backing(disk, spec, path)
    _add(disk, "target", {"dev": target, "bus": "virtio"})
    # The guest may name its disks otherwise than we do; the serial (20 characters at most) tells which is which.
    _add(disk, "serial", text=f"{role}-{spec.uuid[:8]}")


def _backing(disk: ET.Element, spec: InstanceSpec, path: Path) -> None:
    """The whole chain, so that libvirt probes nothing, and leaves the owner of the shared image as it is."""
    base = base_file(spec) if path.name == ROOT else None
    if base and spec.image:
        backing = _add(disk, "backingStore", {"type": "file"})
        _add(backing, "format", {"type": BACKING_FORMATS[spec.image.format]})
        source = _add(backing, "source", {"file": str(path.parent / base)})
        _add(source, "seclabel", {"model": "dac", "relabel": "no"})
        disk = backing
    _add(disk, "backingStore")


def _cdrom(devices: ET.Element, *, path: Path, target: str) -> None:
    cdrom = _add(devices, "disk", {"type": "file", "device": "cdrom"})
    _add(cdrom, "driver", {"name": "qemu", "type": "raw"})
    _add(cdrom, "source", {"file": str(path)})
    _add(cdrom, "target", {"dev": target, "bus": "scsi"})
    _add(cdrom, "readonly")


def interface(nic: Nic) -> str:
    """One interface by itself, as it is plugged in to a running guest and pulled out again."""
    return ET.tostring(_interface(ET.Element("devices"), nic), encoding="unicode")


def plugged(xml: str, mac: str) -> str | None:
    """The interface with this MAC, out of a running domain's XML: how it is named to be pulled out. None: not there."""
    for element in ET.fromstring(xml).iterfind("devices/interface"):
        address = element.find("mac")
        if address is not None and address.get("address", "").lower() == mac:
            return ET.tostring(element, encoding="unicode")
    return None


def macs(xml: str) -> frozenset[str]:
    """The MACs of a definition's interfaces, in lower case."""
    found = (mac.get("address") for mac in ET.fromstring(xml).iterfind("devices/interface/mac"))
    return frozenset(mac.lower() for mac in found if mac)


def _interface(devices: ET.Element, nic: Nic) -> ET.Element:
    interface = _add(devices, "interface", {"type": "bridge"})
    _add(interface, "mac", {"address": nic.mac})
    _add(interface, "source", {"bridge": bridge_name(nic.network_id)})
    _add(interface, "target", {"dev": tap_name(nic.port_id)})
    _add(interface, "model", {"type": "virtio"})
    _add(interface, "mtu", {"size": str(nic.mtu)})
    return interface


def _console(devices: ET.Element, places: Places) -> None:
    """A socket that hostd attaches to and fans out, and a log that virtlogd writes and rotates at all times."""
    serial = _add(devices, "serial", {"type": "unix"})
    _add(serial, "source", {"mode": "bind", "path": str(places.console_socket)})
    _add(serial, "log", {"file": str(places.directory / CONSOLE), "append": "on"})
    _add(serial, "target", {"type": "isa-serial", "port": "0"})
