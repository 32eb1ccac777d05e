"""What every room may use: timers, back-off, files replaced as a whole. Only the standard library; no other room."""
