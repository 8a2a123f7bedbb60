"""What was ever measured on the chips, and how far the model of energy and time is from it."""
