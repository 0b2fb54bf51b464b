"""Weights of models: fetched once per machine, verified, kept in a cache, and shown to the hosts that use them."""
