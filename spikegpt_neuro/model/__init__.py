"""SpikeGPT as data, and its float forward."""
