"""Virtual environments of packages: what they need, how they are built and shared."""
