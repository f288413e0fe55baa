"""Devices: what is in a bay, which files it shows, and how their bytes are read."""
