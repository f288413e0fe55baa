"""Where the originals of all stations are kept."""
