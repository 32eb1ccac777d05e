"""Leaf modules for every room: timers, back-off, files replaced as a whole. Only the standard library."""
