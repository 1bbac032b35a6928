"""The few things all of our XML is made with."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Final

_UNPRINTABLE: Final = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def add(
    parent: ET.Element, tag: str, attributes: dict[str, str] | None = None, *, text: str | None = None
) -> ET.Element:
    """A new child of `parent`."""
    child = ET.SubElement(parent, tag, attributes or {})
    child.text = text
    return child


def printable(text: str) -> str:
    """`text` without the characters that XML 1.0 cannot hold: libvirt would refuse the whole domain for one."""
    return _UNPRINTABLE.sub("?", text)
