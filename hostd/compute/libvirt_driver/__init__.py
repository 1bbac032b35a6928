"""libvirt, wrapped once. The only package that imports it: `Libvirt` in `guests` is all of it."""
