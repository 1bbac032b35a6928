"""The host's side of skydeck: makes libvirt, disks and Linux networking what the controller asks for."""

__version__ = "0.1.0"
