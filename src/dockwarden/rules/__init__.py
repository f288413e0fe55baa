"""What the regulation says, as pure functions over policy data."""
