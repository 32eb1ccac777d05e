"""The network pictures of the drafts, made of real parts: one module for each picture, and what they share.

``python -m demo.pictures NAME`` runs one and prints its page; ``--write`` puts it into docs/pictures/.
"""
