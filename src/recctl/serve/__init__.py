"""The HTTP service: recommendations by the version that the decision log says serves."""
