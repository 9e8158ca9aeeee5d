"""Room `sandbox`, `images`: snapshots and the images built from them."""
