"""TensorRT on the board: what an engine depends on, building one, running one. Its jobs stand in `edgekit.ondevice.agent`."""
