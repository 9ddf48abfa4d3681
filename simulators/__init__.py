"""A room that obeys physics: one seeded world, and devices that satisfy the station's contracts."""
