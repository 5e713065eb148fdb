"""The engine: what waits, fires and runs. It knows its store by the verbs of the seam only."""
