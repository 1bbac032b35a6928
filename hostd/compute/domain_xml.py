"""The libvirt domain of an instance, as XML. Pure: the same input gives the same bytes.

Nothing of the XML is made by pasting strings: what a tenant may choose (the display name, the kernel command
line) can only ever be text inside an element. Names and paths come from uuids alone.
"""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from hostd.compute import disk_xml, guest_disks
from hostd.compute.hardware import Q35, SCSI, UEFI, USB, buses
from hostd.compute.xml_text import add, printable
from hostd.drivers import DiskSource
from hostd.spec import Accel, InstanceSpec, Nic, VolumeDisk, dump, load
from hostd.storage.instances import CONSOLE, boot_files

NAMESPACE: Final = "https://skydeck.dev/xmlns/instance/1"
"""Of our element in a domain's metadata. Stored in every domain: never changed."""

_OURS: Final = f"metadata/{{{NAMESPACE}}}instance"

PREFIX: Final = "skydeck-"
"""Of our domains' names; the instance's uuid follows."""

ROOT_PORTS: Final = 16
"""PCIe root ports of a guest without volumes: each disk, NIC and controller takes one, and what is hot-plugged later
needs one free. For each volume it has, it gets one more."""

SCSI_CONTROLLER: Final = '<controller type="scsi" index="0" model="virtio-scsi" />'

TRANSLATION_CACHE_MIB: Final = 32
"""TCG's code cache. Its default is a share of the host's memory and triples a small guest's size."""

X86_64_V2: Final = ("ssse3", "sse4.1", "sse4.2", "popcnt")
"""What qemu64 lacks of x86-64-v2, without which the C library of current enterprise distributions stops."""

QUARANTINE_TITLE: Final = "quarantined by skydeck: its controller does not know it"

LIFECYCLE: Final = {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}


@attrs.frozen(kw_only=True)
class Machinery:
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


@attrs.frozen(kw_only=True)
class Volumes:
    """How the volumes of a guest are opened, and what the domain calls them so far; both by uuid."""

    sources: Mapping[str, DiskSource] = attrs.field(factory=dict)
    targets: Mapping[str, str] = attrs.field(factory=dict)


def bridge_name(network_id: str) -> str:
    """The bridge of a network: 15 characters, the longest name Linux takes."""
    return f"skb-{network_id.replace('-', '')[:11]}"


def tap_name(port_id: str) -> str:
    """The host's end of a guest's interface."""
    return f"skt-{port_id.replace('-', '')[:11]}"


NO_VOLUMES: Final = Volumes()


def render(spec: InstanceSpec, machinery: Machinery, places: Places, volumes: Volumes = NO_VOLUMES) -> str:
    """The domain's XML, with the digest of everything else in it inside its metadata.

    `volumes.sources` holds every volume of `spec`. Raises HostError(BAD_STATE) for a volume that cannot be shared.
    """
    domain = _domain(spec, machinery, places, volumes)
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
        ours = add(add(domain, "metadata") if metadata is None else metadata, f"{{{NAMESPACE}}}instance")
        ours.set("uuid", domain.findtext("uuid", ""))
    ours.set("quarantined", "yes")
    title = domain.find("title")
    if title is None:
        title = add(domain, "title")
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


def _domain(spec: InstanceSpec, machinery: Machinery, places: Places, volumes: Volumes) -> ET.Element:
    domain = ET.Element("domain", {"type": "kvm" if machinery.accel.mode == "kvm" else "qemu"})
    add(domain, "name", text=PREFIX + spec.uuid)
    add(domain, "uuid", text=spec.uuid)
    metadata = add(domain, "metadata")
    ours = add(metadata, f"{{{NAMESPACE}}}instance", {"uuid": spec.uuid, "machine": machinery.type})
    add(ours, f"{{{NAMESPACE}}}project", text=spec.project_id)
    add(ours, f"{{{NAMESPACE}}}name", text=printable(spec.name))
    if spec.volumes:
        asked = json.dumps([dump(disk) for disk in spec.volumes], sort_keys=True)
        add(ours, f"{{{NAMESPACE}}}volumes", text=printable(asked))
    add(domain, "memory", {"unit": "MiB"}, text=str(spec.ram_mb))
    add(domain, "vcpu", text=str(spec.vcpus))
    _sysinfo(domain, spec)
    _boot(domain, spec, machinery, places)
    _features(domain, spec, machinery)
    _cpu(domain, spec, machinery)
    _clock(domain, spec, machinery)
    for event, action in LIFECYCLE.items():
        add(domain, event, text=action)
    # A guest that sleeps looks switched off to everyone but itself.
    power = add(domain, "pm")
    add(power, "suspend-to-mem", {"enabled": "no"})
    add(power, "suspend-to-disk", {"enabled": "no"})
    _devices(domain, spec, machinery, places, volumes)
    return domain


def _sysinfo(domain: ET.Element, spec: InstanceSpec) -> None:
    # By the product's name cloud-init knows OpenStack (cloudinit/sources/DataSourceOpenStack.py).
    system = add(add(domain, "sysinfo", {"type": "smbios"}), "system")
    for name, value in (("manufacturer", "skydeck"), ("product", "OpenStack Compute"), ("uuid", spec.uuid)):
        add(system, "entry", {"name": name}, text=value)


def _boot(domain: ET.Element, spec: InstanceSpec, machinery: Machinery, places: Places) -> None:
    os = add(domain, "os", {"firmware": "efi"} if spec.hardware.firmware == UEFI else None)
    add(os, "type", {"arch": "x86_64", "machine": machinery.type}, text="hvm")
    kernel, ramdisk = boot_files(spec)
    if kernel:
        add(os, "kernel", text=str(places.directory / kernel))
        if ramdisk:
            add(os, "initrd", text=str(places.directory / ramdisk))
        if spec.cmdline:
            add(os, "cmdline", text=printable(spec.cmdline))
    elif not guest_disks.boots_by_index(spec):
        add(os, "boot", {"dev": "hd"})
    add(os, "smbios", {"mode": "sysinfo"})


def _features(domain: ET.Element, spec: InstanceSpec, machinery: Machinery) -> None:
    features = add(domain, "features")
    add(features, "acpi")
    add(features, "apic")
    if machinery.accel.mode != "kvm":
        add(add(features, "tcg"), "tb-cache", {"unit": "MiB"}, text=str(TRANSLATION_CACHE_MIB))
    elif spec.os_type == "windows":
        hyperv = add(features, "hyperv")
        add(hyperv, "relaxed", {"state": "on"})
        add(hyperv, "vapic", {"state": "on"})
        add(hyperv, "spinlocks", {"state": "on", "retries": "8191"})


def _cpu(domain: ET.Element, spec: InstanceSpec, machinery: Machinery) -> None:
    if machinery.accel.mode == "kvm":
        cpu = add(domain, "cpu", {"mode": "host-passthrough", "check": "none"})
    else:
        # Guests boot a fifth faster under TCG with qemu64 than with everything that TCG can emulate.
        cpu = add(domain, "cpu", {"mode": "custom", "match": "exact", "check": "none"})
        add(cpu, "model", {"fallback": "allow"}, text="qemu64")
    # One socket: some systems are licensed or limited by sockets.
    add(cpu, "topology", {"sockets": "1", "dies": "1", "cores": str(spec.vcpus), "threads": "1"})
    if machinery.accel.mode != "kvm":
        for feature in X86_64_V2:
            add(cpu, "feature", {"policy": "require", "name": feature})


def _clock(domain: ET.Element, spec: InstanceSpec, machinery: Machinery) -> None:
    windows = spec.os_type == "windows"
    clock = add(domain, "clock", {"offset": "localtime" if windows else "utc"})
    add(clock, "timer", {"name": "rtc", "tickpolicy": "catchup"})
    add(clock, "timer", {"name": "hpet", "present": "no"})
    if machinery.accel.mode == "kvm":
        add(clock, "timer", {"name": "pit", "tickpolicy": "delay"})
        if windows:
            add(clock, "timer", {"name": "hypervclock", "present": "yes"})


def _devices(domain: ET.Element, spec: InstanceSpec, machinery: Machinery, places: Places, volumes: Volumes) -> None:
    devices = add(domain, "devices")
    for disk in guest_disks.disks(spec, places.directory, volumes.sources, volumes.targets):
        devices.append(disk_xml.render(disk, machinery.cache))
    if SCSI in buses(spec) or (spec.config_drive and guest_disks.cdrom_bus(spec) == SCSI):
        devices.append(ET.fromstring(SCSI_CONTROLLER))
    if spec.config_drive:
        for drive in guest_disks.cdroms(spec, places.directory):
            devices.append(disk_xml.render(drive, machinery.cache))
    add(devices, "controller", {"type": "usb", "model": "qemu-xhci" if USB in buses(spec) else "none"})
    _pci(devices, spec)
    for nic in spec.nics:
        _interface(devices, nic, spec.hardware.vif_model)
    _console(devices, places)
    agent = add(devices, "channel", {"type": "unix"})
    add(agent, "target", {"type": "virtio", "name": "org.qemu.guest_agent.0"})
    video = spec.hardware.video or ("vga" if spec.os_type == "windows" else "none")
    if video != "none":
        # Each guest's own socket, in a directory of its QEMU's: no port that others of the host could connect to.
        add(add(devices, "graphics", {"type": "vnc"}), "listen", {"type": "socket"})
        add(add(devices, "video"), "model", {"type": video})
    add(devices, "memballoon", {"model": "virtio"})
    add(add(devices, "rng", {"model": "virtio"}), "backend", {"model": "random"}, text="/dev/urandom")


def _pci(devices: ET.Element, spec: InstanceSpec) -> None:
    if spec.hardware.machine != Q35:
        add(devices, "controller", {"type": "pci", "index": "0", "model": "pci-root"})
        return
    add(devices, "controller", {"type": "pci", "index": "0", "model": "pcie-root"})
    for index in range(1, ROOT_PORTS + len(spec.volumes) + 1):
        add(devices, "controller", {"type": "pci", "index": str(index), "model": "pcie-root-port"})


def asked_volumes(xml: str) -> tuple[VolumeDisk, ...]:
    """The volumes a definition was made with, as they were asked for."""
    ours = ET.fromstring(xml).find(_OURS)
    text = ours.findtext(f"{{{NAMESPACE}}}volumes") if ours is not None else None
    return tuple(load(VolumeDisk, disk) for disk in json.loads(text)) if text else ()


def display_socket(xml: str) -> Path | None:
    """Where a running guest's VNC server listens, by its XML; None: it has no display."""
    graphics = ET.fromstring(xml).find("devices/graphics[@type='vnc']")
    if graphics is None:
        return None
    listen = graphics.find("listen[@type='socket']")
    path = graphics.get("socket") or (listen.get("socket") if listen is not None else None)
    return Path(path) if path else None


def has_scsi(xml: str) -> bool:
    """Whether a guest has a controller for SCSI disks."""
    return ET.fromstring(xml).find("devices/controller[@type='scsi']") is not None


def interface(nic: Nic, model: str) -> str:
    """One interface by itself, as it is plugged in to a running guest and pulled out again."""
    return ET.tostring(_interface(ET.Element("devices"), nic, model), encoding="unicode")


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


def _interface(devices: ET.Element, nic: Nic, model: str) -> ET.Element:
    interface = add(devices, "interface", {"type": "bridge"})
    add(interface, "mac", {"address": nic.mac})
    add(interface, "source", {"bridge": bridge_name(nic.network_id)})
    add(interface, "target", {"dev": tap_name(nic.port_id)})
    add(interface, "model", {"type": model})
    add(interface, "mtu", {"size": str(nic.mtu)})
    return interface


def _console(devices: ET.Element, places: Places) -> None:
    """A socket that hostd attaches to and fans out, and a log that virtlogd writes and rotates at all times."""
    serial = add(devices, "serial", {"type": "unix"})
    add(serial, "source", {"mode": "bind", "path": str(places.console_socket)})
    add(serial, "log", {"file": str(places.directory / CONSOLE), "append": "on"})
    add(serial, "target", {"type": "isa-serial", "port": "0"})
