"""From the station to the centre and back."""
