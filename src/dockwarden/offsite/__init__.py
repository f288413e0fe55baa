"""The off-site place: the backup engine (restic), read-back of what was backed up, and restore drills."""
