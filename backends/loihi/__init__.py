"""SpikeGPT on Loihi 2: weights and LIFs on the chip, the rest on the host; see :mod:`.backend`."""
