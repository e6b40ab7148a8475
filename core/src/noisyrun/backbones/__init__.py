"""The backbones that come with the core: a small CNN, and an MLP for features made elsewhere."""
