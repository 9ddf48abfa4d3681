"""Drivers of real devices, one device per file, found by entry point. None has landed yet."""
