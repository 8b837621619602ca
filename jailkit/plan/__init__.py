"""Plans: what will be done, as data."""
