"""Fine-tuning: a checkpoint learns to be sparse and to bear its number formats (needs torch)."""
