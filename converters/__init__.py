"""Checkpoint readers, and lowering to the spiking graph."""
