class Model:
    """Greets. Put your own model into `load` and `predict`."""

    def load(self):
        """Runs once, before the first request: read weights here."""
        self.greeting = "Hello"

    def predict(self, model_input):
        """Runs for each request. It gets the input and returns the output, both as JSON."""
        return {"text": f"{self.greeting}, {model_input['name']}!"}
