"""The cycle-level simulator: what the chips would do with the events of a run, and when."""
