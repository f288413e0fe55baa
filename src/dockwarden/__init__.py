"""Dockwarden: the open evidence dock."""
