"""Exporters: a graph or a checkpoint in the formats of other tools."""
