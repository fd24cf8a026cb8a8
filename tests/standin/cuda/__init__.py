"""A double of NVIDIA's cuda-bindings, for tests: see `bindings.driver`."""
