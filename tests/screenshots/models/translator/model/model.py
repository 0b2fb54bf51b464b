"""Answers in German, whatever it is asked. With `until` it works until that file is there."""

import os
import time

from pydantic import BaseModel, Field


class Wanted(BaseModel):
    """What is translated."""

    text: str = Field(description="The text, at most a page.", max_length=4000)
    to: str = "de"
    until: str = ""


class Model:
    """Answers with a text."""

    def predict(self, model_input: Wanted, request):
        part = 0
        while model_input.until and not os.path.exists(model_input.until):
            part = min(part + 1, 64)
            request.state.progress(part / 100, f"sentence {part} of 100")
            time.sleep(0.1)
        return {"text": "Der Königsstiel trägt den Balken.", "to": model_input.to}
