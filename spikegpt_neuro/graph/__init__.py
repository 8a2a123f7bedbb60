"""The spiking graph, its pipeline schedule, and the artifact on disk."""
