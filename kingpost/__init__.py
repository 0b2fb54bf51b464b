"""The only top-level package name that other projects do not use."""
