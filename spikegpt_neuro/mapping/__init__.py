"""Graph and hardware profile to a placement on cores and chips."""
