"""The report: one HTML file with pictures and tables, which needs nothing beside it."""
