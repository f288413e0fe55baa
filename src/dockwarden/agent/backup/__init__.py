"""The station's third place: nightly snapshots that are read back before they are believed, and restore drills."""
