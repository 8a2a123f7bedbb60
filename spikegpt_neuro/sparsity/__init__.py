"""Training-free sparsification: which events stay silent, which weights go, and what makes up."""
