"""What chips are: their profiles, the keys that those may have, and where cores stand."""
