"""A model with all three stages and a span of its own. It fails the first time that it sees a request."""

from opentelemetry import trace

tracer = trace.get_tracer("the-model")


class Model:
    def __init__(self, **kwargs):
        self._seen = set()

    def preprocess(self, model_input):
        return model_input

    def predict(self, model_input, request):
        with tracer.start_as_current_span("the model's own"):
            if model_input["fails"] and model_input["name"] not in self._seen:
                self._seen.add(model_input["name"])
                raise ValueError(f"no luck with {model_input['name']}")
        return {"said": model_input["name"], "traceparent": request.headers.get("traceparent")}

    async def postprocess(self, output):
        return output
