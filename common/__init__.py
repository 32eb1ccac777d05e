"""What every room may use: timers and back-off. Standard library only, imports none of ours."""
