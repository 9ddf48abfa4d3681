"""Delivery: a durable queue of what must leave the station, and the courier who takes it there."""
