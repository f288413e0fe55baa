"""Speed against peers, measured in one run on the same files."""
