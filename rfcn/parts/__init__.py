"""From one section of the config to one part of a detector, in explicit keyword arguments."""
