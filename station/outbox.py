"""What is still to be delivered, and what became of it."""
