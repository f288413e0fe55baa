"""What both sides and a court hold true: pure rules over bytes, without I/O and without a clock."""
