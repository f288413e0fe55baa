"""A virtual machine with Debian's kernel, into which simulated USB devices are plugged while it runs."""
