"""The central office: what stations report, kept and shown."""
