"""Devices of some makers, which have what no standard says or have the standard's otherwise: one file for each maker.

Each file has ``DEVICES``: by the manufacturer and model of a device's Basic cluster the rows that it has beside those
of ``families`` or in their place. ``clusters`` makes one table of them.
"""
