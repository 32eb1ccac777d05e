"""What adapters share, and nothing of the kernel's: each of them may use it. Imports ``gateway.api`` and ``common``."""
