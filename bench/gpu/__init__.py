"""Ten checks of models on a GPU, `python -m bench.gpu`."""
