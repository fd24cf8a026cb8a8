"""A double of PyCUDA, for tests: see `driver`."""
