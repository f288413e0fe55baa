"""Devices, bays, brokers and networks that are not there: what makes the whole testable without hardware."""
