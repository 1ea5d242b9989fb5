"""Builds the OS image: locked packages in, disk image, bill of materials and manifest out. See docs/image.md."""
