"""Shared by adapters, and nothing of the kernel's: each of them may use it. Imports ``gateway.api`` and ``common``."""
