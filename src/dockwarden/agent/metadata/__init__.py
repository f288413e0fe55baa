"""What is said about a record: labels, from the registry, the device and people."""
