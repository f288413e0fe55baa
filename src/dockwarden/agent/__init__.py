"""The station: from a device in a bay to proven copies."""
