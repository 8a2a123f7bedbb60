"""Backends: each runs the spiking graph and gives the integers of the contract."""
