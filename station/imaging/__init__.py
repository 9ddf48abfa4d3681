"""From raw counts to a corrected frame, its exposure index and a picture."""
