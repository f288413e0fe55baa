"""What any of our services needs to run: settings, logs, sd_notify, the local socket, the page shell."""
