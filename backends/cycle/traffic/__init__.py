"""From a run's events and a placement to the messages of every time step."""
