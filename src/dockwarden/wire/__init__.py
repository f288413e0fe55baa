"""What the sides say to each other: topics, messages, the transfer without I/O, and the thin MQTT link."""
