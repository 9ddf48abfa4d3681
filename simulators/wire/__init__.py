"""Faces of simulated devices: vendors' bytes in, the shared world behind, vendors' bytes out."""
