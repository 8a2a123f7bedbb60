"""The graph on Intel's Lava, run in a supervised child process; see :mod:`.backend`."""
