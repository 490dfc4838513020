"""The server's side: Flower's ServerApp, and the launchers of simulations and of SuperLinks."""
