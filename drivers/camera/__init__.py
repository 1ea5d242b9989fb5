"""The door's camera, as a source of encoded H.264 access units."""
