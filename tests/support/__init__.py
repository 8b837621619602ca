"""What tests need that is no test: capabilities, fixtures' machinery, and the guard against leftovers."""
