"""From recorded or simulated events to a bundle."""
