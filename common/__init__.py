"""What every room may use: timers, back-off, files replaced as a whole. Standard library only, imports no other room."""
