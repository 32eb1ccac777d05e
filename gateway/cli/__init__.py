"""The ``atls-gateway`` command. Nothing is imported here: the group is in ``main``, its commands beside it."""
