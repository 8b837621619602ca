"""The use-cases: create, enter, verify, update, destroy. One module each, so that entering imports only its own."""
