"""The control plane: what operators and deployers do over the API."""
