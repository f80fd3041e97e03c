"""How a network is trained: runs and phases, the net, data, random streams."""
