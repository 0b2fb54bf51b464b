"""A model that cannot be loaded."""


class Model:
    """Its weights are missing."""

    def load(self):
        raise FileNotFoundError("weights/summariser-v2.safetensors is not in the package")

    def predict(self, model_input):
        return model_input
