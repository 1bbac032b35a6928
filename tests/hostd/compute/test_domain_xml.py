"""Domain XML as data: each tests/golden/domain/NAME.json renders to NAME.xml, byte for byte.

After a change that is meant, `SKYDECK_WRITE_GOLDENS=1 pytest tests/hostd/compute/test_domain_xml.py` writes them anew;
the diff is then the review.
"""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostd.compute import disk_xml
from hostd.compute.domain_xml import (
    NAMESPACE,
    QUARANTINE_TITLE,
    Machinery,
    Places,
    Volumes,
    asked_volumes,
    bridge_name,
    digest_of,
    display_socket,
    quarantined,
    read_metadata,
    released,
    render,
    tap_name,
)
from hostd.drivers import DiskSource
from hostd.spec import Accel, InstanceSpec, load
from tests.hostd.specs import UUID, image, instance, metadata, nic

GOLDENS = Path(__file__).parents[2] / "golden" / "domain"
MACHINERY = Machinery(accel=Accel(mode="tcg", reason="tcg (no /dev/kvm)"), type="pc-q35-7.2", cache="none")
PLACES = Places(directory=Path("/state/instances") / UUID, console_socket=Path("/run/consoles") / f"{UUID}.sock")
OURS = f"metadata/{{{NAMESPACE}}}instance"


@pytest.mark.parametrize("case", sorted(GOLDENS.glob("*.json")), ids=lambda path: path.stem)
def test_a_spec_renders_to_its_golden(case: Path) -> None:
    given_ = json.loads(case.read_text())
    sources = {volume: load(DiskSource, source) for volume, source in given_.get("sources", {}).items()}
    volumes = Volumes(sources=sources, targets=given_.get("targets", {}))
    spec = load(InstanceSpec, given_["spec"])
    xml = render(spec, load(Machinery, given_["machinery"]), PLACES, volumes)
    golden = case.with_suffix(".xml")
    if os.environ.get("SKYDECK_WRITE_GOLDENS"):
        golden.write_text(xml)
    assert xml == golden.read_text()
    assert {volume: disk.source for volume, disk in disk_xml.plugged(xml).items()} == sources
    assert disk_xml.resourced(xml, sources) is None
    assert asked_volumes(xml) == spec.volumes


@pytest.mark.parametrize("case", sorted(GOLDENS.glob("*.xml")), ids=lambda path: path.stem)
def test_every_golden_is_as_libvirts_schema_wants_it(case: Path) -> None:
    root = ET.parse(case).getroot()
    root.set("type", "test")  # libvirt's driver in this process validates like any other
    connection = libvirt.open("test:///default")
    try:
        connection.defineXMLFlags(ET.tostring(root, "unicode"), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    finally:
        connection.close()


def test_every_golden_has_its_spec() -> None:
    assert {path.stem for path in GOLDENS.glob("*.xml")} == {path.stem for path in GOLDENS.glob("*.json")} != set()


@given(name=st.text(), cmdline=st.text())
def test_what_a_tenant_chooses_stays_text(name: str, cmdline: str) -> None:
    plain = ET.fromstring(render(instance(kernel=image("b"), cmdline="x"), MACHINERY, PLACES))
    hostile = ET.fromstring(render(instance(kernel=image("b"), name=name, cmdline=cmdline or "x"), MACHINERY, PLACES))
    assert [element.tag for element in hostile.iter()] == [element.tag for element in plain.iter()]
    assert hostile.findtext("name") == f"skydeck-{UUID}"
    attributes = [{k: v for k, v in element.items() if k != "digest"} for element in hostile.iter()]
    assert attributes == [{k: v for k, v in element.items() if k != "digest"} for element in plain.iter()]


def test_the_digest_changes_with_the_definition_and_with_nothing_else() -> None:
    first = render(instance(), MACHINERY, PLACES)
    assert digest_of(first) == digest_of(render(instance(), MACHINERY, PLACES))
    assert digest_of(first) != digest_of(render(instance(ram_mb=256), MACHINERY, PLACES))
    assert digest_of(first) == digest_of(render(instance(metadata=metadata(), stop_timeout=1), MACHINERY, PLACES))


def test_quarantine_marks_a_domain_and_lifting_it_changes_nothing_else() -> None:
    before = render(instance(config_drive=True, metadata=metadata(), nics=(nic(),)), MACHINERY, PLACES)
    marked = quarantined(before)
    assert read_metadata(ET.fromstring(marked).find(OURS))["quarantined"] == "yes"
    assert ET.fromstring(marked).findtext("title") == QUARANTINE_TITLE
    assert ET.canonicalize(released(marked), strip_text=True) == ET.canonicalize(before, strip_text=True)


def test_a_domain_that_lost_our_metadata_can_be_quarantined() -> None:
    xml = f"<domain><name>skydeck-{UUID}</name><uuid>{UUID}</uuid></domain>"
    assert read_metadata(ET.fromstring(quarantined(xml)).find(OURS)) == {"uuid": UUID, "quarantined": "yes"}


def test_metadata_that_is_not_ours_is_nothing() -> None:
    assert read_metadata("<not closed") == {}
    assert read_metadata(None) == {}


def test_device_names_fit_into_what_linux_allows() -> None:
    assert bridge_name("0a1b2c3d-4e5f-6789-abcd-ef0123456789") == "skb-0a1b2c3d4e5"
    assert len(tap_name("0a1b2c3d-4e5f-6789-abcd-ef0123456789")) == 15


def test_where_a_running_guests_display_is() -> None:
    live = (
        "<domain><devices><graphics type='vnc' socket='/run/d/vnc.sock'>"
        "<listen type='socket' socket='/run/d/vnc.sock'/></graphics></devices></domain>"
    )
    assert display_socket(live) == Path("/run/d/vnc.sock")
    assert display_socket(live.replace(" socket='/run/d/vnc.sock'>", ">", 1)) == Path("/run/d/vnc.sock")
    off = "<domain><devices><graphics type='vnc'><listen type='socket'/></graphics></devices></domain>"
    assert display_socket(off) is None
    assert display_socket("<domain><devices/></domain>") is None
