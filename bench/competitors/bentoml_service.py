"""BentoML: `bentoml serve bench.competitors.bentoml_service:Echo`. One worker, as it comes."""

from typing import Any

import bentoml


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Echo:
    """Answers with its input, or does nothing as a task."""

    @bentoml.api(route="/predict")
    async def predict(self, model_input: Any) -> Any:
        """The input."""
        return model_input

    @bentoml.task(route="/nothing")
    async def nothing(self, model_input: Any) -> None:
        """Nothing."""
